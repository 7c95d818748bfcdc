"""Does scene say at full size what VBench's says? Captions, tags and intermediates on random checkpoints.

scene_small_clip.json is the given reference: its weights give every picture one word for ever, so it says little.
scene_varied_captions.json was recorded for varied_captions.py's weights and words from VBench's own code:
vbench 0.1.5 (scene.scene, and generate of tag2text_caption(pretrained=..., image_size=384, vit="swin_b")), transformers
4.33.2, tokenizers 0.13.3, timm 1.0.12, decord 0.6.0, fairscale 0.4.13, torch 2.14.1 on a CPU, bert-base-uncased being a
folder with those words, BERT's config.json and an empty state dict. Its `mixed` are 16 squares shown to `generate` at
once: number i is the `middle` frame 5 * (i // 4) of clip i % 4 in the order of `clips`. A caption there is that of the
picture i // 3 (scene.py), and so is the text of tags that `generate` returns.
Of the first six pictures: `samples` has numbers at equal distances in the network's picture tokens, tag logits, tokens
of the tag encoder and logits of the first word (of picture 0 and 1 there), `largest` the largest magnitude.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import varied_captions
from vbench_checkpoints import CLIPS, ROW, WORD_PIECES, plain, write_ours

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features, open_clip
from turbo_eval.scorers.vbench.encoders import middle_indices, squares
from turbo_eval.scorers.vbench.encoders.tag2text.captioner import PROMPT, RULES, Tag2Text
from turbo_eval.scorers.vbench.encoders.tag2text.tagging import given_tags, tag_text
from turbo_eval.scorers.vbench.encoders.transforms import dino_transform
from turbo_eval.scorers.vbench.encoders.word_pieces import PAD
from turbo_eval.scorers.vbench.scene import Scene
from turbo_eval.scorers.vbench.spec import SCENE
from turbo_train.weights.places import path_below_root
from turbo_train.weights.table import find_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = json.loads((CLIPS / "scene_small_clip.json").read_text(encoding="utf-8"))["scene"]
VARIED = json.loads((CLIPS / "scene_varied_captions.json").read_text(encoding="utf-8"))
REL = 5e-6  # of the largest; 1.6e-6 was the most


@pytest.fixture
def plain_encoder(tmp_path: Path) -> Iterator[Tag2Text]:
    path = write_ours("tag2text", tmp_path)
    words = find_file(WORD_PIECES)
    yield Tag2Text({find_file(ROW["tag2text"]): path, words: tmp_path / path_below_root(words)})
    path.unlink()


@pytest.fixture
def varied_encoder(tmp_path: Path) -> Iterator[Tag2Text]:
    state = plain("tag2text")
    varied_captions.vary(state)
    path, words = tmp_path / "varied.pth", tmp_path / "vocab.txt"
    torch.save({"model": state, "optimizer": {"step": 3, "moments": [torch.zeros(4)]}}, path)
    words.write_text("\n".join(varied_captions.words()) + "\n", encoding="utf-8")
    yield Tag2Text({find_file(ROW["tag2text"]): path, find_file(WORD_PIECES): words})
    path.unlink()


def opened(name: str, place: str) -> Clip:
    prompt = Prompt("p-0", f"a {place}", attributes={f"{SCENE}.{SCENE}.{SCENE}": place})
    clip = open_clip(CLIPS / name, ("model", "p-0", 0), prompt)
    assert isinstance(clip, Clip)
    return clip


def scored(encoder: Tag2Text, clip: Clip) -> tuple[float | None, list[str]]:
    features = Features(clip)
    scorer = Scene(encoder)
    return scorer.score(clip, features).value, scorer._captions(features)


def test_the_small_clip_with_plain_random_weights(plain_encoder: Tag2Text) -> None:
    score, captions = scored(plain_encoder, opened(SMALL["videos"][0]["video_path"], "alley"))
    assert captions == SMALL["intermediate"][0]
    assert score == SMALL["score"]


def assert_same(name: str, values: torch.Tensor) -> None:
    golden = VARIED["intermediates"][name]
    assert list(values.shape) == golden["shape"]
    flat = values.flatten()
    found = flat[:: golden["every"]].double().numpy()
    assert float(flat.abs().max()) == pytest.approx(golden["largest"], rel=REL)
    np.testing.assert_allclose(found, golden["samples"], rtol=0, atol=REL * golden["largest"], err_msg=name)


def test_varied_captions(varied_encoder: Tag2Text) -> None:
    assert len(set(VARIED["mixed"]["captions"])) == 5 and len(set(VARIED["mixed"]["tags"])) == 6
    lengths = {len(caption.split()) for caption in VARIED["mixed"]["captions"]}
    assert {13, 26} <= lengths and max(len(set(c.split())) for c in VARIED["mixed"]["captions"]) > 9

    clip = opened("a red car-1.mp4", VARIED["scene"]["place"])
    score, captions = scored(varied_encoder, clip)
    assert captions == VARIED["scene"]["captions"]
    assert 0 < VARIED["scene"]["score"] < 1 and score == VARIED["scene"]["score"]

    shown = []
    for number in range(6):
        clip = opened(VARIED["clips"][number % 4], "alley")
        frame = int(middle_indices(len(clip.frames_THWC), 16)[5 * (number // 4)])
        shown.append(squares(clip, [frame], 384)[0])
    (captions,) = varied_encoder.captions([np.stack(shown)])
    assert [captions[number // 3] for number in range(16)] == VARIED["mixed"]["captions"]

    net: Any = varied_encoder._net
    with varied_encoder.computing():
        tokens = net.visual_encoder(dino_transform(torch.from_numpy(np.stack(shown)), 384))
        logits = net.tag_logits(tokens)
        texts = [tag_text(numbers) for numbers in given_tags(logits)]
        assert [texts[number // 3] for number in range(16)] == VARIED["mixed"]["tags"]
        words = varied_encoder.tag_words(texts)
        read = net.tag_encoder(words, words != PAD, tokens)
        prompt = torch.tensor([[30522, *varied_encoder.words.encode(PROMPT)[1:-1]]]).expand(2, 1, -1)
        first = net.text_decoder.about(read[:2])(prompt, torch.arange(2), torch.arange(2))
    for name, values in {"picture": tokens, "tag_logits": logits, "read": read, "first": first}.items():
        assert_same(name, values)
    assert RULES.beams == 3
