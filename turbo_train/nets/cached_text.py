"""How are the keys and values of the text computed once per clip, and not once per step?

Cross-attention softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017): Q comes from the picture and changes in every step, K
and V come from the text alone. A clip's steps are known by the context being the same tensor, unchanged; then what was
computed for it is used again. diffusers also computes them for every frame; here a row serves all frames of its clip.
Differs from the layers it stands for by rounding alone: queries of a clip's frames stand in one long row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention as DiffusersAttention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from turbo_train.nets.around import AroundDenoiser
from turbo_train.nets.unet_denoiser import UNetDenoiser
from turbo_train.nets.videocrafter2.blocks import Attention, SpatialTransformer

# What a diffusers' attention may do besides; the UNets of both families do none of it.
_EXTRAS = "spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k", "residual_connection"


class KeptAttention(nn.Module):
    """A cross-attention that is given its keys and values by `fill`. It has the replaced layer's weights and names."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if isinstance(layer, DiffusersAttention):
            extras = [name for name in _EXTRAS if getattr(layer, name, None)]
            if extras or layer.rescale_output_factor != 1:
                raise ValueError(f"a cross-attention with {', '.join(extras) or 'a rescaled output'}")
        elif not isinstance(layer, Attention):
            raise ValueError(f"a cross-attention of class {type(layer).__name__}")
        self.heads: int = layer.heads
        self.to_q, self.to_k, self.to_v, self.to_out = layer.to_q, layer.to_k, layer.to_v, layer.to_out
        # (B, heads, L, d); no buffers: `.to()` must not move what CachedText has to compute anew.
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def keys_and_values(self, context_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Of the text, in the layer's dtype, each (B, heads, L, d)."""
        context = context_BLD.to(next(self.to_k.parameters()).dtype)
        return self._heads(self.to_k(context)), self._heads(self.to_v(context))

    def forward(self, x_BSC: Tensor, *_: Any, **__: Any) -> Tensor:
        """(N, S, C) to the same shape. The context that the layers around it pass on is not looked at."""
        assert self.key is not None and self.value is not None
        q_BSC = self.to_q(x_BSC)
        q = self._heads(q_BSC.view(len(self.key), -1, q_BSC.shape[-1]))
        y = F.scaled_dot_product_attention(q, self.key, self.value).transpose(1, 2).reshape(q_BSC.shape)
        for layer in self.to_out:
            y = layer(y)
        return y

    def _heads(self, x_BSC: Tensor) -> Tensor:
        out: Tensor = x_BSC.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return out


class CachedText(AroundDenoiser):
    """A denoiser whose keys and values of the text are kept while the context is the same tensor object, unchanged.

    One context is kept for each of its shapes, always at the same addresses, as a recorded CUDA graph wants them.
    Computed anew: for another context, one that was changed in place, weights that were moved, cast or changed (but
    not through `.data`, which torch does not see), and an inference tensor, whose changes torch does not count.
    ValueError where gradients of context or weights are wanted: what is kept has none.
    """

    def __init__(self, denoiser: UNetDenoiser | AroundDenoiser, layers: tuple[KeptAttention, ...]) -> None:
        super().__init__(denoiser)
        self.layers = layers  # a tuple: they are the denoiser's modules
        self.fills = 0
        self._kept: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
        self._of: tuple[Tensor, int, tuple[Any, ...]] | None = None

    def forward(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
        """The denoiser's output; its errors."""
        if not self._is_kept(context_BLD):
            self._fill(context_BLD)
        out: Tensor = self.denoiser(x_BCTHW, t_B, context_BLD, **conditions)
        return out

    def _is_kept(self, context_BLD: Tensor) -> bool:
        if self._of is None or context_BLD.is_inference():
            return False
        context, version, weights = self._of
        return context is context_BLD and version == context._version and weights == self._weights()

    def _fill(self, context_BLD: Tensor) -> None:
        if torch.is_grad_enabled() and (
            context_BLD.requires_grad or any(weight.requires_grad for weight in self._projections())
        ):
            raise ValueError("kept keys and values of the text have no gradients: use torch.no_grad()")
        with torch.inference_mode(False), torch.no_grad():
            fresh = [layer.keys_and_values(context_BLD) for layer in self.layers]
            where = context_BLD.shape, fresh[0][0].dtype, fresh[0][0].device
            if where not in self._kept:
                self._kept[where] = [
                    (k.clone(memory_format=torch.contiguous_format), v.clone(memory_format=torch.contiguous_format))
                    for k, v in fresh
                ]
            else:
                for (k, v), (new_k, new_v) in zip(self._kept[where], fresh, strict=True):
                    k.copy_(new_k)
                    v.copy_(new_v)
        for layer, (k, v) in zip(self.layers, self._kept[where], strict=True):
            layer.key, layer.value = k, v
        version = 0 if context_BLD.is_inference() else context_BLD._version
        self._of = context_BLD, version, self._weights()
        self.fills += 1

    def _projections(self) -> Iterator[nn.Parameter]:
        for layer in self.layers:
            yield from layer.to_k.parameters()
            yield from layer.to_v.parameters()

    def _weights(self) -> tuple[Any, ...]:
        return tuple((weight.data_ptr(), weight._version) for weight in self._projections())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CachedText:
        self._of = None  # moved or cast: what is kept belongs to other weights
        self._kept.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def cache_text(denoiser: UNetDenoiser | AroundDenoiser) -> CachedText:
    """The denoiser with kept keys and values; its cross-attention layers are replaced in place.

    ValueError: it has no cross-attention to a text, or one of another kind.
    """
    layers = []
    for module in denoiser.modules():
        if isinstance(module, (Transformer2DModel, SpatialTransformer)):
            for block in module.transformer_blocks:
                layer: Any = block.attn2
                block.attn2 = layer if isinstance(layer, KeptAttention) else KeptAttention(layer)
                layers.append(block.attn2)
    if not layers:
        raise ValueError(f"{type(denoiser).__name__} has no cross-attention to a text")
    return CachedText(denoiser, tuple(layers))
