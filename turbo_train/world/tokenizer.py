"""How do the world's captions become token ids? One word, one token; the vocabulary is the grammar's.

Ids: 0 <pad>, 1 <unk>, the words in alphabetical order, then <|startoftext|> and <|endoftext|> last, so
that the end token has the largest id (open_clip and ViCLIP pool the text there).
"""

from __future__ import annotations

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from turbo_train.world.captions import vocabulary

MAX_TOKENS = 18
PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<|startoftext|>", "<|endoftext|>"


def token_ids() -> dict[str, int]:
    """Token to id, in id order."""
    return {token: i for i, token in enumerate([PAD, UNKNOWN, *vocabulary(), START, END])}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The world's tokenizer. Call it with padding="max_length", truncation=True for (B, MAX_TOKENS) ids."""
    ids = token_ids()
    inner = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=MAX_TOKENS,
    )
