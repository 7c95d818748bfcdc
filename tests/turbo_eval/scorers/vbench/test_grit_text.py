"""Are GRiT's words those of the whole decoder run again at every word, however little of it we run?"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders.bert import BertSizes, KeysValues
from turbo_eval.scorers.vbench.encoders.grit.text_decoder import Room, TextDecoder, TextSizes, boxes_at_once

SIZES = TextSizes(
    features=8,
    vocabulary=23,
    layers=3,
    layer=BertSizes(width=16, heads=2, hidden=32),
    positions=32,
    longest=12,
    end=2,
)
NAME, DESCRIBE = 1, 4


def tiny_text(sizes: TextSizes = SIZES, end_bias: float = 3.0) -> TextDecoder:
    """A decoder whose texts are of different lengths."""
    torch.manual_seed(0)
    net = TextDecoder(sizes)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.ndim > 1 else 0.1)
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data += 1
    net.output.bias.data[sizes.end] = end_bias
    return net.eval().requires_grad_(False)


def objects(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, SIZES.features, 3, 4, generator=torch.Generator().manual_seed(seed)) * 2


def whole_logits(net: TextDecoder, features_NCHW: Tensor, words_NL: Tensor) -> Tensor:
    """(N, L, V) as VBench computes them: every token through every layer, under one mask."""
    tokens = net.object_feature_projection(features_NCHW.flatten(2).transpose(1, 2))
    count, length = tokens.shape[1], words_NL.shape[1]
    words = net.embedding.layer_norm(net.output.weight[words_NL] + net.embedding.positions.weight[:length])
    seen = torch.ones(count + length, count + length, dtype=torch.bool).tril()
    seen[:count, :count] = True
    x = torch.cat((tokens, words), 1)
    for layer in net.layers:
        x = layer.think(layer.read(x, None, seen[None])[0])
    return net.output(x[:, count:])


def whole_texts(net: TextDecoder, features_NCHW: Tensor, begin: int) -> list[list[int]]:
    """All boxes until the last has ended: AutoRegressiveBeamSearch of one beam."""
    sizes = net.sizes
    words = torch.full((len(features_NCHW), 1), begin)
    while words.shape[1] < sizes.longest and not (words[:, 1:] == sizes.end).any(1).all():
        logits = whole_logits(net, features_NCHW, words)[:, -1]
        if words.shape[1] > 1:
            logits.scatter_(1, words[:, -1:], -10000.0)
        words = torch.cat((words, logits.argmax(1, keepdim=True)), 1)
    texts = words[:, 1:].tolist()
    return [text[: text.index(sizes.end)] if sizes.end in text else text for text in texts]


@pytest.mark.parametrize("count", [1, 11])
def test_texts_are_those_of_the_whole_decoder_at_every_word(count: int) -> None:
    net = tiny_text()
    features = objects(count)
    texts = net.write(features, (NAME, DESCRIBE), 100)
    assert texts == [whole_texts(net, features, begin) for begin in (NAME, DESCRIBE)]
    if count > 1:
        assert texts[0] != texts[1]
        lengths = {len(text) for of_task in texts for text in of_task}
        assert min(lengths) == 0 and max(lengths) == SIZES.longest - 1 and len(lengths) > 3


def test_logits_are_those_of_the_whole_decoder() -> None:
    net = tiny_text()
    features, words = objects(4), torch.randint(0, SIZES.vocabulary, (4, 6))
    rooms = net.remember(features)
    got = torch.stack([net.logits(words[:, place], rooms) for place in range(6)], 1)
    torch.testing.assert_close(got, whole_logits(net, features, words), rtol=1e-4, atol=1e-5)


def test_the_words_of_a_box_do_not_hang_on_other_boxes() -> None:
    net = tiny_text()
    features = objects(11)
    together = net.write(features, (NAME, DESCRIBE), 100)
    for at_once in (1, 3, 11):
        assert net.write(features, (NAME, DESCRIBE), at_once) == together
    alone = [net.write(features[box : box + 1], (DESCRIBE, NAME), 1) for box in range(11)]
    assert [[of_task[0] for of_task in box[::-1]] for box in alone] == [
        list(box) for box in zip(*together, strict=True)
    ]


def test_no_boxes_have_no_texts() -> None:
    assert tiny_text().write(objects(0), (NAME, DESCRIBE), 5) == [[], []]


@pytest.mark.parametrize(
    ("liked", "begin", "text"),
    [
        ((7, 9, 5), 1, [7, 9] * 5 + [7]),  # 12 tokens with the begin token; never one twice running
        ((7, 9, 5), 7, [7, 9] * 5 + [7]),  # the begin token may be said
        ((7, 2, 5), 1, [7]),
        ((2, 7, 5), 1, []),
    ],
)
def test_a_text_ends_at_its_end_or_at_its_longest(liked: tuple[int, ...], begin: int, text: list[int]) -> None:
    net = tiny_text()
    net.output.bias[list(liked)] = torch.tensor([3e3, 2e3, 1e3])
    assert net.write(objects(2), (begin,), 5) == [[text, text]]


@pytest.mark.parametrize(("others", "repeats"), [(-9000.0, False), (-11000.0, True)])
def test_the_word_before_has_a_logit_of_minus_10000(others: float, repeats: bool) -> None:
    net = tiny_text()
    net.output.bias.fill_(others)
    net.output.bias[7] = 3e3
    (texts,) = net.write(objects(3), (NAME,), 5)
    assert all(text[0] == 7 and (text[1] == 7) == repeats for text in texts)


def test_the_norms_are_the_published_ones() -> None:
    with torch.device("meta"):
        net = TextDecoder()
    eps = {name: module.eps for name, module in net.named_modules() if isinstance(module, nn.LayerNorm)}
    assert eps.pop("object_feature_projection.1") == 1e-5 and eps.pop("embedding.layer_norm") == 1e-8
    assert set(eps.values()) == {1e-12} and len(eps) == 12


# What is run


def counted(net: TextDecoder) -> Counter[tuple[str, int]]:
    """Tokens through parts of the network, by part and tokens of a box at a time."""
    seen: Counter[tuple[str, int]] = Counter()

    def count(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0] if inputs[0].ndim == 3 else inputs[0][:, None]
            seen[name, x.shape[1]] += x.shape[0] * x.shape[1]

        module.register_forward_pre_hook(hook)

    count("projection", net.object_feature_projection)
    count("output", net.output)
    for number, layer in enumerate(net.layers):
        count(f"dense {number}", layer.intermediate)
        count(f"keys {number}", layer.attention.self.key)
    return seen


def test_object_tokens_are_read_once_for_both_tasks_and_a_word_costs_one_token() -> None:
    net = tiny_text()
    seen = counted(net)
    texts = net.write(objects(1), (NAME, DESCRIBE), 5)
    words = sum(min(len(of_task[0]) + 1, SIZES.longest - 1) for of_task in texts)
    tokens = 12
    expected = {("projection", tokens): tokens, ("output", 1): words}
    for number in range(SIZES.layers):
        expected |= {(f"dense {number}", 1): words, (f"keys {number}", 1): words, (f"keys {number}", tokens): tokens}
        if number < SIZES.layers - 1:  # nothing reads what the last layer makes of an object
            expected[f"dense {number}", tokens] = tokens
    assert seen == expected


def test_boxes_that_have_ended_leave() -> None:
    net = tiny_text()
    features = objects(40)
    seen = counted(net)
    texts = net.write(features, (NAME, DESCRIBE), 100)
    words = [min(len(text) + 1, SIZES.longest - 1) for of_task in texts for text in of_task]
    assert seen["output", 1] == sum(words) < 0.7 * 80 * max(words)


def test_keys_and_values_of_no_more_boxes_are_kept_than_fit() -> None:
    sizes = TextSizes()
    of_a_box = sum(2 * 4 * sizes.layer.width * (196 + 39) for _ in range(sizes.layers))
    assert of_a_box * boxes_at_once(sizes, 196) <= 2**30 < of_a_box * (boxes_at_once(sizes, 196) + 1)
    assert boxes_at_once(replace(sizes, layers=10**6), 196) == 1

    net = tiny_text()
    kept: list[int] = []
    alive: list[weakref.ref[object]] = []
    remember = net.remember

    def watched(features: Tensor) -> list[Room]:
        assert not any(room() for room in alive)  # of the boxes before
        kept.append(len(features))
        rooms = remember(features)
        alive.extend(weakref.ref(room) for room in rooms)
        return rooms

    net.remember = watched  # type: ignore[method-assign]
    net.write(objects(11), (NAME, DESCRIBE), 4)
    assert kept == [4, 4, 3]


def test_texts_are_written_in_place_and_boxes_change_places_in_place() -> None:
    net = tiny_text()
    rooms = net.remember(objects(3))
    room = rooms[0]
    assert room.keys.shape == room.values.shape == (3, 2, 12 + SIZES.longest - 1, 8)
    net.logits(torch.tensor([1, 1, 1]), rooms)
    kept = room.keys.clone(), room.values.clone()
    where = room.keys.data_ptr()
    room.keep(2, torch.tensor([0]), torch.tensor([2]))
    assert (room.boxes, room.filled) == (2, 13) and room.keys.data_ptr() == where
    written = slice(0, 13)
    torch.testing.assert_close(room.keys[:, :, written], kept[0][[2, 1, 0], :, written], rtol=0, atol=0)
    torch.testing.assert_close(room.values[:, :, written], kept[1][[2, 1, 0], :, written], rtol=0, atol=0)
    later = KeysValues(torch.ones(2, 2, 1, 8), torch.ones(2, 2, 1, 8))
    assert room.then(later).keys.shape == (2, 2, 14, 8) and room.keys.data_ptr() == where
    room.empty()
    assert (room.boxes, room.filled) == (3, 12)


def test_in_half_precision_keys_take_half_the_room() -> None:
    net = tiny_text()
    with torch.autocast("cpu", torch.bfloat16):
        rooms = net.remember(objects(3))
        (texts,) = net.write(objects(3), (NAME,), 5)
    assert rooms[0].keys.dtype == rooms[0].values.dtype == torch.bfloat16 and len(texts) == 3
