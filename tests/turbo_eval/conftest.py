"""Tiny models of the real classes, random weights, in the folder layout that `turbo-train world build` writes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of 4 frames of 16x16 pixels that loads and samples in milliseconds."""
    import torch
    from diffusers import AutoencoderKL, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from turbo_train.nets.source import ClipFormat
    from turbo_train.nets.teacher import save_teacher
    from turbo_train.world.build.teacher import scheduler
    from turbo_train.world.tokenizer import END, MAX_TOKENS, PAD, START, build_tokenizer, token_ids

    folder = tmp_path_factory.mktemp("models") / "teacher"
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("CrossAttnUpBlock3D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=1.0,
    )
    ids = token_ids()
    config = CLIPTextConfig(
        vocab_size=len(ids),
        pad_token_id=ids[PAD],
        bos_token_id=ids[START],
        eos_token_id=ids[END],
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
    )
    save_teacher(
        folder,
        unet=unet,
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=build_tokenizer(),
        scheduler=scheduler(),
        clip=ClipFormat(frames=4, fps=8),
    )
    return folder


@pytest.fixture(scope="session")
def tiny_student(tiny_teacher: Path) -> Path:
    """A student of the tiny teacher, beside it: LoRA and guidance projection with random weights."""
    import torch

    from turbo_train.nets.student import new_student, save_student, trainable_weights
    from turbo_train.nets.teacher import load_teacher

    student = new_student(load_teacher(tiny_teacher), rank=2, time_cond_dim=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_weights(student).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    folder = tiny_teacher.parent / "student"
    save_student(folder, student, guidance_range=(1.0, 5.0), guidance_scale=3.0)
    return folder
