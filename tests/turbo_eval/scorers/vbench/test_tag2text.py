"""Is Tag2Text the published network, and does no shortcut change what it says? Tiny networks of the same classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from vbench_checkpoints import ROW, WORD_PIECES, rows, write_word_pieces

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, NotFinite, score_clips
from turbo_eval.scorers.vbench.encoders.tag2text import captioner, tagging
from turbo_eval.scorers.vbench.encoders.tag2text.captioner import RULES, Tag2Text
from turbo_eval.scorers.vbench.encoders.tag2text.net import COMPUTED, OTHER_BIAS, Tag2TextNet, TextSizes, counted
from turbo_eval.scorers.vbench.encoders.tag2text.swin import Swin, SwinSizes
from turbo_eval.scorers.vbench.encoders.tag2text.tagging import NEVER, given_tags, tag_names, tag_text
from turbo_eval.scorers.vbench.encoders.word_pieces import PAD
from turbo_eval.scorers.vbench.scene import Scene
from turbo_eval.scorers.vbench.spec import SCENE
from turbo_train.errors import UserError
from turbo_train.weights.table import find_file

SWIN = SwinSizes(side_px=96, width=8, depths=(2, 2, 2), heads=(1, 2, 4), window=6)
TEXT = TextSizes(width=16, hidden=24, heads=4, layers=3, positions=48, tags=len(tag_names()), tagging_heads=2)


def tiny_net() -> Tag2TextNet:
    torch.manual_seed(0)
    net = Tag2TextNet(TEXT, SWIN)
    for name, parameter in net.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.02 if "position" in name else 0.5)
    torch.nn.init.constant_(net.fc.b, -5.0)
    return net.eval().requires_grad_(False)


class TinyTag2Text(Tag2Text):
    side_px = SWIN.side_px

    def build(self, tensors):
        return tiny_net()


@pytest.fixture
def encoder(tmp_path) -> TinyTag2Text:
    path = tmp_path / "any.pt"
    torch.save({}, path)
    words = write_word_pieces(tmp_path / "vocab.txt")
    return TinyTag2Text({find_file(ROW["tag2text"]): path, find_file(WORD_PIECES): words})


def pictures(count: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


def tokens(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 37, SWIN.out_width, generator=torch.Generator().manual_seed(1))


def test_the_layout_is_the_published_checkpoints():
    with torch.device("meta"):
        state = Tag2TextNet().state_dict()
    published = {key: shape for key, shape, _ in rows("tag2text")}
    used = {key: shape for key, shape in published.items() if not key.endswith(COMPUTED) and key != OTHER_BIAS}
    assert {key: tuple(value.shape) for key, value in state.items()} == used
    assert len(published) == 1038 and len(used) == 1038 - 24 - 11 - 1  # 24 blocks, of which 11 have a mask


def test_of_what_is_there_twice_the_later_counts():
    names = {
        "vision_multi.encoder.layer.1.output.dense.bias": "tag_encoder.encoder.layer.1.output.dense.bias",
        "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    }
    state = {name: torch.full((2,), float(number)) for number, name in enumerate([*names.values(), *names])}
    state |= {"tag_encoder.encoder.layer.2.output.dense.bias": torch.ones(2), OTHER_BIAS: torch.ones(2)}
    found = counted({**state, "visual_encoder.layers.0.blocks.1.attn_mask": torch.ones(2)})
    assert set(found) == set(state) - {OTHER_BIAS}
    for later, earlier in names.items():
        assert found[earlier] is state[later] is found[later]
    missing = dict(state)
    del missing["text_decoder.bert.embeddings.word_embeddings.weight"]
    assert "text_decoder.bert.embeddings.word_embeddings.weight" not in counted(missing)  # and so it will be noticed


def test_another_layout_is_refused(encoder):
    with pytest.raises(UserError, match=r"keys of .* differ") as caught:
        Tag2Text.build(encoder, {ROW["tag2text"]: {"fc.W": torch.zeros(1, 2, 3)}})
    assert "Tag2Text" in caught.value.expected


def test_swin_is_timms():
    from timm.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    theirs = SwinTransformer(
        img_size=96, patch_size=4, embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4), window_size=6, num_classes=0
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = theirs.state_dict()
    for stage in (1, 2):  # timm merges before a stage, the published network after the one before
        for name in ("norm.weight", "norm.bias", "reduction.weight"):
            state[f"layers.{stage - 1}.downsample.{name}"] = state.pop(f"layers.{stage}.downsample.{name}")
    net = Swin(SWIN)
    net.load_state_dict(state)
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        got, want = net(x), theirs.eval().forward_features(x).flatten(1, 2)
    torch.testing.assert_close(got[:, 1:], want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[:, 0], want.mean(1), rtol=1e-5, atol=1e-5)


def test_tags_look_at_the_picture_and_have_their_own_weights():
    net, picture = tiny_net(), tokens()
    want = net.label_embed.weight.expand(3, -1, -1)
    for layer in net.vision_multi.encoder.layer:
        attention, width = layer.crossattention, TEXT.width // TEXT.tagging_heads
        q, k, v = (
            projected.unflatten(2, (TEXT.tagging_heads, width)).transpose(1, 2)
            for projected in (attention.self.query(want), attention.self.key(picture), attention.self.value(picture))
        )
        mixed = ((q @ k.transpose(2, 3) / width**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        want = attention.output.LayerNorm(want + attention.output.dense(mixed))
        want = layer.output.LayerNorm(want + layer.output.dense(F.gelu(layer.intermediate.dense(want))))
    logits = net.tag_logits(picture)
    torch.testing.assert_close(logits, torch.einsum("bkd,kd->bk", want, net.fc.W[0]) + net.fc.b, rtol=1e-4, atol=1e-4)


def test_a_tag_is_given_above_the_threshold_and_six_never():
    edge = float(torch.logit(torch.tensor(0.7, dtype=torch.float64)))
    logits = torch.full((2, len(tag_names())), edge - 1e-3)
    logits[0, [5, 9]] = edge + 1e-3
    logits[1] = 20.0
    assert given_tags(logits)[0] == [5, 9]
    assert len(given_tags(logits)[1]) == len(tag_names()) - len(NEVER)
    assert tag_text([5, 9]) == f"{tag_names()[5]} | {tag_names()[9]}" and tag_text([]) == ""


def test_the_tags_are_vbenchs():
    names = tag_names()
    assert (len(names), names[0], names[1], names[-1]) == (
        3429,
        "tennis",
        "bear cub",
        tagging.FILE.read_text().split("\n")[-2],
    )
    assert {names[number] for number in NEVER} == {"quarter", "one", "two", "three", "four", "five"}


def test_no_token_of_the_tags_reads_the_padding_and_the_decoder_does():
    net, picture = tiny_net(), tokens(1)
    words = torch.tensor([[30523, 1000, 1003, 102, *[PAD] * 4]])
    read = net.tag_encoder(words, words != PAD, picture)
    torch.testing.assert_close(read[:, :4], net.tag_encoder(words[:, :4], words[:, :4] != PAD, picture))
    prompt, first = torch.tensor([[[30522, 1000]]]), torch.arange(1)
    whole, cut = (net.text_decoder.about(part)(prompt, first, first) for part in (read, read[:, :4]))
    assert (whole - cut).abs().max() > 1e-2


def test_a_word_at_a_time_is_the_whole_text_at_once():
    net = tiny_net()
    read = torch.randn(2, 40, TEXT.width, generator=torch.Generator().manual_seed(2))
    texts = torch.randint(1000, 30000, (2, 3, 6), generator=torch.Generator().manual_seed(3))  # P b L
    writing, rows_6, here = net.text_decoder.about(read), torch.arange(6), torch.arange(2)
    writing(texts[:, :1, :2], here, here)  # another beginning, which none goes on from
    writing = net.text_decoder.about(read)
    writing(texts[:, :, :2], rows_6, here)
    writing(texts[:, :, 2:3], rows_6, here)
    turned = torch.tensor([2, 0, 1, 3, 3, 5])
    texts = texts.flatten(0, 1)[turned].view(2, 3, 6).clone()
    texts[:, :, 3] += torch.arange(6).view(2, 3)
    got = writing(texts[:, :, 3:4], turned, here)
    for row in range(6):
        alone = net.text_decoder.about(read[row // 3][None])
        want = alone(texts.flatten(0, 1)[None, row : row + 1, :4], torch.arange(1), torch.arange(1))
        torch.testing.assert_close(got[row : row + 1], want, rtol=1e-4, atol=1e-4)
    left = writing(texts[1:, :, 4:5], torch.tensor([3, 4, 5]), torch.tensor([1]))  # the first picture is done
    alone = net.text_decoder.about(read[1:])
    want = alone(texts[1:, 2:, :5], torch.arange(1), torch.arange(1))
    torch.testing.assert_close(left[2:], want, rtol=1e-4, atol=1e-4)


def test_the_same_picture_is_captioned_once_and_company_changes_nothing(encoder, monkeypatch):
    seen: list[int] = []
    say = TinyTag2Text._say
    monkeypatch.setattr(TinyTag2Text, "_say", lambda self, squares: (seen.append(len(squares)), say(self, squares))[1])
    first, second = pictures(3), pictures(2, seed=1)
    still = np.concatenate([first[:1], first, first[:2], second[1:]])
    together = encoder.captions([still, second, first[:0]])
    assert seen == [5] and [len(captions) for captions in together] == [7, 2, 0]
    assert len(set(together[0])) > 1 and all(together[0])
    assert together[0][0] == together[0][1] == together[0][4] and together[0][6] == together[1][1]
    encoder.rows = 2
    assert encoder.captions([still, second, first[:0]]) == together
    assert seen[1:] == [2, 2, 1] and encoder.captions([]) == []
    assert "takes 1 at a time" in encoder.relieve() and encoder.relieve() == ""


def test_the_texts_are_laid_out_as_vbench_does(encoder):
    words = encoder.tag_words(["", "a | b", "| ".join("abcdefghij" * 9)])
    assert words.shape == (3, 40)
    assert words[0].tolist() == [30523, 102, *[PAD] * 38]
    letter = {letter: encoder.words.encode(letter)[1] for letter in "ab|"}
    assert words[1, :6].tolist() == [30523, letter["a"], letter["|"], letter["b"], 102, PAD]
    assert words[2, 0] == 30523 and words[2, -1] == 102 and (words[2] != PAD).all()
    assert (RULES.end, RULES.beams, RULES.min_length, RULES.max_length, RULES.length_penalty) == (102, 3, 10, 30, 1.0)


def test_a_caption_goes_on_from_the_prompt_and_may_be_empty(encoder, monkeypatch):
    begun: list[list[int]] = []

    def say_nothing(step, prompts, rules):
        begun.extend(prompts.tolist())
        return prompts.tolist()

    monkeypatch.setattr(captioner, "beam_search", say_nothing)
    assert encoder.captions([pictures(1)]) == [[""]]
    assert begun == [[30522, *(encoder.words.encode(word)[1] for word in ("a", "picture", "of"))]]


@pytest.mark.parametrize(
    ("part", "value", "what"),
    [
        ("visual_encoder.patch_embed.proj.bias", torch.nan, "tags"),
        ("fc.W", -torch.inf, "tags"),
        ("tag_encoder.embeddings.word_embeddings.weight", torch.nan, "words"),
        ("text_decoder.bert.encoder.layer.2.crossattention.self.key.weight", torch.inf, "words"),
        ("text_decoder.cls.predictions.decoder.bias", torch.inf, "words"),
    ],
)
def test_damaged_weights_are_never_a_caption(encoder, part, value, what):
    encoder.load()
    encoder._net.get_parameter(part)[..., -1] = value  # of one tag or word, or of one channel
    with pytest.raises(NotFinite, match=f"Tag2Text's {what} are not finite"):
        encoder.captions([pictures(2)])


def test_a_clip_is_unscored_when_the_weights_are_damaged(encoder):
    encoder.load()
    encoder._net.fc.b[0, 7] = torch.nan
    prompts = [Prompt(name, "an alley", attributes={SCENE: "alley"}) for name in "ab"]
    clips = [Clip(("m", each.prompt_id, 0), each, pictures(2, seed), 8.0) for seed, each in enumerate(prompts)]
    for record in score_clips([Scene(encoder)], clips):
        assert record.value is None and "Tag2Text's tags are not finite" in record.unscored
