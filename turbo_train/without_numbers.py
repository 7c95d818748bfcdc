"""How does a step run on tensors without numbers? By rules for what the meta device lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@contextmanager
def autocast(precision: str, device: str = "cpu") -> Iterator[None]:
    """As in a run with this precision. On the meta device it is the CPU's, by which `Rules` go."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
        yield


class Rules(TorchFunctionMode):
    """What tensors of the meta device lack: numbers, autocast, and fused attention.

    Whoever asks for numbers is told 0, which lies in the [0, 1] of frames. Under the CPU's autocast products and
    convolutions take its type, norms float32, as CUDA's autocast has it (torch's lists of autocast operators).
    Attention without a mask is the fused kernel, which keeps queries, keys, values and its output.
    """

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        if function is Tensor.tolist:
            return [0] * len(arguments[0])
        if function in (Tensor.item, Tensor.__bool__):
            return 0 if function is Tensor.item else False
        if function is Tensor.cpu:
            return arguments[0]
        if torch.is_autocast_enabled("cpu"):
            wanted = torch.get_autocast_dtype("cpu") if function in _LOWER else torch.float32
            if function in _LOWER or function in _FLOAT32:
                arguments = tuple(_cast(value, wanted) for value in arguments)
                options = {name: _cast(value, wanted) for name, value in options.items()}
        if function is F.scaled_dot_product_attention and len(arguments) == 3 and options.get("attn_mask") is None:
            scale, causal = options.get("scale"), bool(options.get("is_causal"))
            flash = torch.ops.aten._scaled_dot_product_flash_attention
            return flash(*arguments, dropout_p=0.0, is_causal=causal, scale=scale)[0]
        return function(*arguments, **options)


_LOWER = {F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm, F.scaled_dot_product_attention}
_FLOAT32 = {F.group_norm, F.layer_norm}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def backward(loss: Tensor) -> None:
    """loss.backward(), inside which `Rules` go on: torch leaves such modes where a tensor, not an edge, is given."""
    torch.autograd.backward(get_gradient_edge(loss), torch.ones_like(loss))
