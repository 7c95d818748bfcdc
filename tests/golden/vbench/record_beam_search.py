"""What does beam search of transformers 4.33.2 say with small random BERT decoders? Needs torch and transformers only.

    python record_beam_search.py beam_search_4_33_2.json     # with transformers 4.33.2 in front
Every tensor has its own CPU generator, seeded with crc32("<seed>/<key>"), as in fill_checkpoints.py.
"""
import json
import math
import sys
import zlib

import torch

VOCABULARY, WIDTH, HIDDEN, HEADS, LAYERS, POSITIONS = 40, 16, 32, 2, 2, 32
PICTURES, TOKENS, END, PAD, PROMPT = 5, 7, 2, 0, [1, 5, 6]
# (seed, (beams, min_length, max_length, length_penalty))
CASES = [
    (seed, (beams, least, most, penalty))
    for seed in range(6) for beams in (2, 3, 4) for least, most in ((4, 9), (6, 16)) for penalty in (0.0, 1.0)
]
# Where a search that stops later, or compares other lengths, or takes ends below the first beams, says something else.
CASES += [(seed, (2, 4, 16, 2.0)) for seed in (202, 206, 208, 215, 235)] + [(459, (3, 4, 16, 1.0))]


def draw(seed, key, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(f"{seed}/{key}".encode())))


def fill(seed, shapes):
    """Tensors by key: sharp matrices, so that words and pictures matter; [SEP] likelier with odd seeds."""
    state = {}
    for key, shape in shapes.items():
        n = draw(seed, key, shape)
        if key.endswith("position_ids"):
            state[key] = torch.arange(shape[1])[None]
        elif "token_type" in key:
            state[key] = torch.zeros(shape)
        elif "embeddings." in key and len(shape) > 1:
            state[key] = n
        elif len(shape) > 1:
            state[key] = n * (3.6 if "predictions.decoder" in key else 1.2) / math.sqrt(shape[-1])
        else:
            state[key] = 1 + 0.1 * n if key.endswith("LayerNorm.weight") else 0.1 * n
        if key == "cls.predictions.decoder.bias":
            state[key][END] += 2.0 if seed % 2 else 3.5
    if "cls.predictions.bias" in state:
        state["cls.predictions.bias"] = state["cls.predictions.decoder.bias"]
    return state


def memory(seed):
    """(PICTURES, TOKENS, WIDTH) what the sentences are about."""
    return 1.5 * draw(seed, "memory", (PICTURES, TOKENS, WIDTH))


def network(seed):
    """transformers' own decoder."""
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=HIDDEN, max_position_embeddings=POSITIONS, type_vocab_size=1, is_decoder=True,
        add_cross_attention=True, tie_word_embeddings=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )

    class Decoder(BertLMHeadModel):
        def prepare_inputs_for_generation(self, input_ids, attention_mask=None, encoder_hidden_states=None, **others):
            # 4.33.2 forgets what the text is about; VBench's own decoder does not
            told = {"attention_mask": attention_mask, "encoder_hidden_states": encoder_hidden_states}
            return {"input_ids": input_ids, "use_cache": False, **told}

    net = Decoder(config).eval()
    net.load_state_dict(fill(seed, {key: tuple(value.shape) for key, value in net.state_dict().items()}))
    return net


def sentences(net, seed, beams, least, most, penalty):
    """The words of each picture's sentence up to its end."""
    prompt = torch.tensor(PROMPT).expand(PICTURES, -1)
    options = {"length_penalty": penalty, "early_stopping": False} if beams > 1 else {}
    with torch.no_grad():
        rows = net.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), encoder_hidden_states=memory(seed), num_beams=beams,
            min_length=least, max_length=most, eos_token_id=END, pad_token_id=PAD, do_sample=False, use_cache=False,
            **options,
        ).tolist()
    at = [(row + [END]).index(END, len(PROMPT)) for row in rows]
    return [row[:end] for row, end in zip(rows, at)]


if __name__ == "__main__":
    import transformers

    said = [{"seed": seed, "rules": rules, "sentences": sentences(network(seed), seed, *rules)}
            for seed, rules in CASES]
    with open(sys.argv[1], "w") as file:
        head = {"transformers": transformers.__version__, "torch": torch.__version__}
        file.write(json.dumps({**head, "said": said}, separators=(",", ":")).replace('{"seed"', '\n{"seed"') + "\n")
