"""What do the denoisers of both families share? A UNet whose conditions can be added, and which a state dict can fill.

A guidance condition is a bias-free linear layer from the guidance embedding into the time embedding
(arXiv 2310.04378, section 4.2); `cond_proj` is its name in the family. What this class makes shares or replaces
weights; it never changes the network it was called on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.key_layout import check_layout
from turbo_train.nets.model import Model
from turbo_train.nets.recompute import is_recomputed, recompute


class UNetDenoiser(nn.Module, ABC):
    """A UNet behind the Denoiser protocol. motion_proj None: the family knows no motion condition."""

    family: ClassVar[str]  # for messages
    cond_proj: ClassVar[str]
    motion_proj: ClassVar[str | None] = None
    recomputed: ClassVar[tuple[type[nn.Module], ...]]  # layers for gradient checkpointing
    prediction_type: str
    unet: nn.Module

    @property
    @abstractmethod
    def timestep_cond_dim(self) -> int | None:
        """Width of the guidance embedding it wants, or None."""

    @property
    def motion_cond_dim(self) -> int | None:
        """Width of the motion embedding it accepts, or None."""
        return None

    @abstractmethod
    def empty(self, time_cond_dim: int | None, motion_cond_dim: int | None) -> Self:
        """A network of the same sizes with these conditions, on the meta device: names and shapes without weights."""

    def empty_with(self, time_cond_dim: int | None, motion_cond_dim: int | None) -> Self:
        """`empty`, which saves memory in training as this network does."""
        made = self.empty(time_cond_dim, motion_cond_dim)
        if is_recomputed(self.unet):
            made.enable_gradient_checkpointing()
        return made

    def enable_gradient_checkpointing(self) -> None:
        """From now on compute layers again in the backward pass instead of keeping their insides: same numbers."""
        recompute(self.unet, self.recomputed)

    @property
    def projection(self) -> nn.Linear:
        """The guidance condition's layer. AttributeError for a teacher."""
        layer = self.unet.get_submodule(self.cond_proj)
        assert isinstance(layer, nn.Linear)
        return layer

    def with_guidance_condition(self, dim: int, *, share: bool = False) -> Self:
        """The same network with a guidance projection of zeros, so that it begins as the teacher exactly; frozen.

        share: its weights are this network's own tensors, not copies: for a teacher that is thrown away.
        Differs: the original leaves this matrix at a random start, frozen, and never saves it (T2V-Turbo eaae323).
        ValueError: it has a guidance condition already.
        """
        if self.timestep_cond_dim is not None:
            raise ValueError(f"the network has a guidance condition of width {self.timestep_cond_dim} already")
        wide = self.empty_with(dim, self.motion_cond_dim)
        weights = {name: v.detach() if share else v.detach().clone() for name, v in self.unet.state_dict().items()}
        like = next(iter(weights.values()))
        weights[f"{self.cond_proj}.weight"] = torch.zeros(
            wide.projection.weight.shape, dtype=like.dtype, device=like.device
        )
        return wide._filled(weights)

    def with_weights(self, state: Mapping[str, Tensor], where: Path | str) -> Self:
        """A student of this network's sizes with a whole state dict, float32; frozen.

        Its names tell which conditions it has; then all of them must be there in the right shape: UserError.
        """
        time_cond_dim = _width(state, self.cond_proj)
        if time_cond_dim is None:
            raise UserError(
                found=f"no {self.cond_proj}.weight among the {len(state)} keys of {where}",
                expected=f"a student's UNet of {self.family}, which knows the guidance scale",
                run_next="a student's file, rather than a teacher's",
            )
        motion_cond_dim = None if self.motion_proj is None else _width(state, self.motion_proj)
        made = self.empty_with(time_cond_dim, motion_cond_dim)
        want = {name: value.shape for name, value in made.unet.state_dict().items()}
        check_layout(state, want, where, f"the UNet of a student of {self.family}")
        return made._filled({name: value.float() for name, value in state.items()})

    def check_conditions(
        self, x_BCTHW: Tensor, context_BLD: Tensor, timestep_cond_BE: Tensor | None, motion_cond_BE: Tensor | None
    ) -> None:
        """ValueError for a guidance embedding that is missing or unwanted, and for an unwanted motion embedding.

        ValueError also for another number of texts than of clips, which would be spread over the wrong frames.
        """
        if len(context_BLD) != len(x_BCTHW):
            raise ValueError(f"a context of {len(context_BLD)} rows for {len(x_BCTHW)} clips")
        got = None if timestep_cond_BE is None else timestep_cond_BE.shape[1]
        if got != self.timestep_cond_dim:
            raise ValueError(f"guidance embedding of width {got}, the network wants {self.timestep_cond_dim}")
        got = None if motion_cond_BE is None else motion_cond_BE.shape[1]
        if got is not None and got != self.motion_cond_dim:
            raise ValueError(f"motion embedding of width {got}, the network knows {self.motion_cond_dim}")

    def _filled(self, weights: Mapping[str, Tensor]) -> Self:
        self.unet.load_state_dict(weights, strict=True, assign=True)
        return self.eval().requires_grad_(False)


def unet_denoiser_of(model: Model) -> UNetDenoiser:
    """The model's denoiser. TypeError: it is another kind, which cannot become a student."""
    if not isinstance(model.denoiser, UNetDenoiser):
        raise TypeError(f"a student of {type(model.denoiser).__name__} is not supported")
    return model.denoiser


def _width(state: Mapping[str, Tensor], layer: str) -> int | None:
    weight = state.get(f"{layer}.weight")
    return None if weight is None or weight.ndim != 2 else weight.shape[1]
