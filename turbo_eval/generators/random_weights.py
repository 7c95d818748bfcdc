"""How is a model timed whose files are not there? The real classes at their real sizes, filled with random numbers.

Published models need no file, the embedded world's their configurations alone (turbo_train/nets/shaped.py). A latency
does not depend on the weights' values, with two exceptions that decided how they are drawn:

- A GPU draws more power for random numbers than for zeros, and slows down for it. So every matrix and kernel is drawn
  N(0, 1 / fan-in), those included that training starts from zero; norms are 1, biases 0.
- Numbers below a type's normal range are slow on CPUs, and numbers out of range are none. Behind norms activations stay
  near 1; the denoiser's last layer alone is zero, as its architecture begins, so that its answer is "no noise": latents
  then grow by 1 / alpha at most, 15 times, through any number of steps and at any guidance scale.

What does depend on values is x264's time: frames are noise of middle contrast, for which it takes about as long as for
filmed clips (320x512, 16 frames, without loss, one core: 380 ms, and 220 to 510 ms of three filmed clips).
ModelScope's and the world's vocabularies are files: without them every text is as long as texts get and gives the same
context, and turning text into tokens is not timed. VideoCrafter2's ships with open_clip, and is used.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import init_empty_weights
from torch import nn

from turbo_eval.generators.cost import shaped_teacher
from turbo_eval.generators.latent import fitted
from turbo_eval.model_table import ModelEntry
from turbo_train.diffusion.solver import videocrafter2_x0_scale
from turbo_train.nets.model import Model
from turbo_train.nets.shaped import ShapedText
from turbo_train.nets.student import TIME_COND_DIM
from turbo_train.nets.student_config import CONFIG_FILE, read_student_config
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.text import OpenCLIPText

MOTION_COND_DIM = 256  # of T2V-Turbo-v2's motion embedding (T2V-Turbo eaae323)


def random_model(entry: ModelEntry, device: torch.device | str, seed: int = 0) -> Model:
    """The model of an entry (with its source: `outlined`) for its setting's clip, on a device, in the setting's dtype.

    Tensor by tensor, there and in that dtype: more memory than the networks take is not needed.
    UserError: a model whose sizes nobody knows before its files are there, or a size that it cannot make.
    """
    assert entry.source is not None
    with init_empty_weights(include_buffers=False):  # parameters without numbers; schedule and buffers with theirs
        model = fitted(shaped_teacher(entry, entry.source), entry.setting)
        if entry.setting.sampler == "consistency":
            model = _student(model, entry)
    if isinstance(model.denoiser, VideoCrafter2Denoiser):
        assert isinstance(model.text, ShapedText) and isinstance(model.text.net, OpenCLIPText)
        model = replace(model, text=model.text.net, x0_scale=videocrafter2_x0_scale())
    generator, dtype = torch.Generator(device).manual_seed(seed), getattr(torch, entry.setting.dtype)
    for part in (model.denoiser, model.text, model.vae):
        assert isinstance(part, nn.Module)
        _fill(part, generator, dtype)
    _silence(unet_denoiser_of(model), model.latent_shape[0])
    return replace(model, name=entry.name).to(device, dtype)


def _student(teacher: Model, entry: ModelEntry) -> Model:
    """With the guidance condition, and the motion condition where the recipe has one."""
    assert entry.source is not None
    empty, width = unet_denoiser_of(teacher), TIME_COND_DIM
    kind = empty.prediction_type
    if entry.source.layout == "student" and (entry.source.path / CONFIG_FILE).is_file():
        config = read_student_config(entry.source.path)
        width, kind = config.time_cond_dim, config.prediction_type
    motion = MOTION_COND_DIM if entry.recipe is not None and entry.recipe.motion else None
    denoiser = empty.empty(width, motion).eval()
    denoiser.prediction_type = kind
    return replace(
        teacher,
        denoiser=denoiser,
        timestep_cond_dim=denoiser.timestep_cond_dim,
        motion_cond_dim=denoiser.motion_cond_dim,
    )


def _fill(network: nn.Module, generator: torch.Generator, dtype: torch.dtype) -> None:
    """Every parameter, in place of one without numbers; frozen."""
    for layer in network.modules():
        for name, shaped in layer.named_parameters(recurse=False):
            if shaped.ndim > 1:
                value = torch.randn(shaped.shape, generator=generator, device=generator.device)
                value *= (shaped.numel() / len(shaped)) ** -0.5
            else:
                value = torch.full(shaped.shape, float(name == "weight"), device=generator.device)
            setattr(layer, name, nn.Parameter(value.to(dtype), requires_grad=False))
    if bare := [name for name, buffer in network.named_buffers() if buffer.is_meta]:
        raise AssertionError(f"buffers without numbers: {bare}")


def _silence(denoiser: UNetDenoiser, latent_channels: int) -> None:
    """Zeros for the layer that gives the answer: the one that was registered last, and makes latents."""
    *_, last = denoiser.unet.modules()
    assert isinstance(last, nn.Conv2d) and last.out_channels == latent_channels
    nn.init.zeros_(last.weight)
