"""How is the world's teacher made? Latent diffusion with v-prediction, text encoder trained jointly.

Networks: diffusers' UNet3DConditionModel (the ModelScope class) and transformers' CLIPTextModel. Schedule:
Stable Diffusion's scaled-linear betas with zero terminal SNR (Lin et al. 2023), because with the original betas x_999
still tells which way a thing moves, and the network reads that from the noise instead of the caption (reports/LOG.md).
v-prediction (Salimans and Ho 2022, section 4), which zero terminal SNR needs. Captions are noisy on purpose.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from turbo_train.diffusion.prediction import v_of
from turbo_train.diffusion.schedule import Schedule, add_noise, make_schedule
from turbo_train.world.build.clips import make_clips
from turbo_train.world.build.fit import Fit, Report, fit
from turbo_train.world.build.vae import encode
from turbo_train.world.scene import SIZE_PX
from turbo_train.world.tokenizer import END, MAX_TOKENS, PAD, START, build_tokenizer, token_ids

WRONG_SHARE, MISSING_SHARE = 0.15, 0.15  # of training captions: one attribute wrong, one attribute missing
CAPTION_DROPOUT = 0.12  # trains the unconditional branch of classifier-free guidance
CLIPS, BATCH, DATA_SEED = 8000, 16, 4001
PLAN = Fit(steps=5400, lr=1.0e-3, seed=41, warmup=100, ema=0.998)


def new_unet(time_cond_proj_dim: int | None = None) -> UNet3DConditionModel:
    """An untrained denoiser of (B, 4, 8, 8, 8) latents."""
    return UNet3DConditionModel(
        sample_size=SIZE_PX // 4,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(48, 96),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=64,
        attention_head_dim=4,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def new_text_encoder() -> CLIPTextModel:
    """An untrained two-layer text encoder, width 64."""
    ids = token_ids()
    config = CLIPTextConfig(
        vocab_size=len(ids),
        hidden_size=64,
        intermediate_size=256,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=ids[PAD],
        bos_token_id=ids[START],
        eos_token_id=ids[END],
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)  # tell the words apart from the first step
    return encoder


def scheduler() -> DDIMScheduler:
    """The noise schedule as diffusers writes it down."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


class Teacher(nn.Module):
    """The two networks that are trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        self.text_encoder = new_text_encoder()
        for module in self.unet.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the data set is larger than the network

    def forward(self, x_t_BCTHW: Tensor, t_B: Tensor, ids_BL: Tensor) -> Tensor:
        context = self.text_encoder(ids_BL).last_hidden_state
        out: Tensor = self.unet(x_t_BCTHW, t_B, encoder_hidden_states=context).sample
        return out


def tokenize(captions: list[str] | tuple[str, ...]) -> Tensor:
    """(B, MAX_TOKENS) token ids."""
    ids: Tensor = build_tokenizer()(
        list(captions), padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
    return ids


def draw_t(count: int, generator: torch.Generator) -> Tensor:
    """Training times: half uniform in 800..999, where captions act; half with density ~ t^0.43 over all."""
    late = 800 + 200 * torch.rand(count, generator=generator)
    broad = 1000 * torch.rand(count, generator=generator) ** 0.7
    pick = torch.rand(count, generator=generator) < 0.5
    return torch.where(pick, late, broad).long().clamp_(max=999)


def teacher_loss(
    teacher: Teacher, schedule: Schedule, x_0: Tensor, ids_BL: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Mean squared error of v on a batch of latents."""
    t = draw_t(len(x_0), generator)
    eps = torch.randn(x_0.shape, generator=generator)
    out = teacher(add_noise(schedule, x_0, eps, t), t, ids_BL)
    return {"loss": F.mse_loss(out, v_of(schedule, x_0, eps, t))}


def training_latents(vae: AutoencoderKL, folder: Path) -> tuple[Tensor, Tensor]:
    """Latents (N, 4, T, h, w) in fp16 and token ids of the noisy captions; kept in `folder` for resuming."""
    cache = folder / "latents.pt"
    if not cache.exists():
        clips = make_clips(CLIPS, DATA_SEED, wrong=WRONG_SHARE, missing=MISSING_SHARE)
        folder.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial")
        torch.save({"x": encode(vae, clips.frames_BTCHW).half(), "ids": tokenize(clips.captions)}, partial)
        partial.replace(cache)
    data = torch.load(cache, weights_only=True)
    return data["x"], data["ids"]


def train_teacher(vae: AutoencoderKL, folder: Path, report: Report | None = None, plan: Fit = PLAN) -> Teacher:
    """Train the teacher on the VAE's latents."""
    x, ids = training_latents(vae, folder)
    torch.manual_seed(plan.seed)
    teacher, schedule, empty = Teacher(), make_schedule(zero_terminal_snr=True), tokenize([""])

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        drop = torch.rand(BATCH, generator=generator) < CAPTION_DROPOUT
        said = torch.where(drop[:, None], empty, ids[rows])
        return teacher_loss(teacher, schedule, x[rows].float(), said, generator)

    fit(plan, teacher, loss, folder, report)
    return teacher
