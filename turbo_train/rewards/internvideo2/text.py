"""What does InternVideo2 read in a text? BERT-large's first 19 layers, transformers' own class, and its word pieces.

The class token's last hidden state is the text's feature. The published file's later layers also attend to a clip; the
score does not run them, and there is no pooler. Padding is masked, so that it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import BertConfig, BertModel, BertTokenizer

from turbo_train.rewards.tokens import Pieces
from turbo_train.rewards.word_pieces import read_vocabulary


@dataclass(frozen=True)
class TextConfig:
    """Text tower, by the published names. The defaults are Stage-2 1B's.

    fusion_layer: how many layers read the text alone. max_text_length: tokens of a padded text.
    """

    vocab_size: int = 30522
    hidden_size: int = 1024
    fusion_layer: int = 19
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    max_position_embeddings: int = 512
    pad_token_id: int = 0
    max_text_length: int = 40


def new_text_encoder(config: TextConfig) -> BertModel:
    """BERT without its pooler. Its inputs: ids and attention_mask (N, L); its output: last_hidden_state (N, L, D)."""
    return BertModel(
        BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.fusion_layer,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_position_embeddings,
            pad_token_id=config.pad_token_id,
        ),
        add_pooling_layer=False,
    )


def read_word_pieces(vocab: Path, config: TextConfig) -> Pieces:
    """The lower-case tokenizer of a vocab.txt. UserError where that is not the vocabulary of the text tower."""
    words = read_vocabulary(vocab, config.vocab_size, {"[PAD]": config.pad_token_id})
    return Pieces(BertTokenizer(vocab={word: i for i, word in enumerate(words)}), config.max_text_length)
