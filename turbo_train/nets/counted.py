"""How much arithmetic is done, and how many bytes are alive at once, in each part of a computation? Counted, not timed.

Arithmetic: by torch's formulas (torch.utils.flop_counter: 1 FLOP is one addition or one multiplication; matrix
products, convolutions and attention alone). Bytes: of every storage made inside, until nothing holds it; a view costs
nothing. Kernels' own workspaces and an allocator's rounding are not seen. The same on real tensors and on the meta
device, which has no memory.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Phase = Literal["forward", "backward", "again"]
"""again: what checkpointing computes once more in the backward pass."""
_ATEN = torch.ops.aten
OTHER = "other"


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


_FORMULAS: dict[Any, Any] = {
    **flop_registry,
    # torch has formulas for CUDA's kernels alone (2.14)
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Counted(TorchDispatchMode):
    """Counts what happens inside the `with` block, by the part that is named at the time.

    flops: (part, phase) -> number; convolutions: how many of all of them. now, peak: bytes alive, of storages
    made inside; alive: by part that made them; at_peak: `alive` when the peak was reached. Tensors in `without`
    (weights) are never counted, nor are their views; other tensors from outside are, from the first view of them on.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[tuple[str, Phase]] = Counter()
        self.convolutions = 0
        self.alive: Counter[str] = Counter()
        self.at_peak: Mapping[str, int] = {}
        self.now = self.peak = 0
        self.part = OTHER
        self._in_backward = False
        self._without = [tensor.untyped_storage() for tensor in without]  # held: an address could be used again
        self._known = {storage._cdata for storage in self._without}

    @contextmanager
    def named(self, part: str) -> Iterator[None]:
        """What is computed inside belongs to this part."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Around the backward pass, in which what is computed with gradients is computed again."""
        self._in_backward = True
        try:
            yield
        finally:
            self._in_backward = False

    def border(self, tensor: Tensor, part: str) -> Tensor:
        """The same tensor; when its gradient passes, what follows in the backward pass belongs to `part`."""
        return cast(Tensor, _Border.apply(tensor, self, part)) if tensor.requires_grad else tensor

    @property
    def phase(self) -> Phase:
        """Of what is computed now."""
        if not self._in_backward:
            return "forward"
        return "again" if torch.is_grad_enabled() else "backward"

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = options or {}
        out = function(*arguments, **options)
        if formula := _FORMULAS.get(function.overloadpacket):
            count = formula(*arguments, **options, out_val=out)
            self.flops[self.part, self.phase] += count
            self.convolutions += count if function.overloadpacket is _ATEN.convolution else 0
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size, part = storage.nbytes(), self.part
        self._known.add(key)
        self.now += size
        self.alive[part] += size
        if self.now > self.peak:
            self.peak, self.at_peak = self.now, dict(self.alive)
        weakref.finalize(storage, self._forget, key, size, part)

    def _forget(self, key: int, size: int, part: str) -> None:
        self._known.discard(key)
        self.now -= size
        self.alive[part] -= size


class _Border(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counted: Counted, part: str) -> Tensor:
        ctx.counted, ctx.part = counted, part
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.counted.part = ctx.part
        return grads[0], None, None


def size_bytes(tensors: Iterable[Tensor]) -> int:
    """Of the tensors' storages, each once."""
    storages = {storage._cdata: storage for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storage.nbytes() for storage in storages.values())
