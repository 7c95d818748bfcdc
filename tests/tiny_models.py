"""Which models do the tests of networks and samplers use? Small random members of the real classes, made in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.nets.model import Model
from turbo_train.nets.source import ClipFormat
from turbo_train.nets.teacher import load_teacher, save_teacher

WORDS = ("<pad>", "<unk>", "a", "blue", "circle", "moving", "red", "square", "still", "<start>", "<end>")
CLIP = ClipFormat(frames=3, fps=8)


def tokenizer(max_tokens: int = 8) -> PreTrainedTokenizerFast:
    ids = {word: i for i, word in enumerate(WORDS)}
    inner = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", ids["<start>"]), ("<end>", ids["<end>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=max_tokens,
    )


def unet() -> UNet3DConditionModel:
    return UNet3DConditionModel(
        sample_size=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=4,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=8,
        scaling_factor=0.5,
    )


def text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(WORDS),
            hidden_size=12,
            intermediate_size=16,
            projection_dim=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            pad_token_id=0,
            bos_token_id=9,
            eos_token_id=10,
        )
    )


def scheduler(prediction_type: str = "v_prediction", spacing: str = "leading") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
        timestep_spacing=spacing,
    )


def write_teacher(folder: Path, seed: int = 0) -> Path:
    """A teacher's folder. Layers that start at zero are filled, so that every path through the UNet counts."""
    torch.manual_seed(seed)
    denoiser = unet()
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    save_teacher(
        folder,
        unet=denoiser,
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        scheduler=scheduler(),
        clip=CLIP,
    )
    return folder


class FormulaDenoiser:
    """A denoiser whose output is a formula of x, t and the context, row by row: exact to compare with."""

    def __init__(self, prediction_type: str) -> None:
        self.prediction_type = prediction_type
        self.calls: list[tuple[int, list[int]]] = []

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        self.calls.append((len(x_BCTHW), sorted(set(t_B.tolist()))))
        row = context_BLD.mean((1, 2)) + t_B / 2000
        if timestep_cond_BE is not None:
            row = row + timestep_cond_BE[:, 1]
        return torch.tanh(0.6 * x_BCTHW + row.reshape(-1, 1, 1, 1, 1))


def formula_model(folder: Path, prediction_type: str, timestep_cond_dim: int | None = None) -> Model:
    """A loaded tiny model whose denoiser is replaced by a formula."""
    return replace(
        load_teacher(folder),
        denoiser=FormulaDenoiser(prediction_type),
        schedule=make_schedule(),
        timestep_cond_dim=timestep_cond_dim,
    )
