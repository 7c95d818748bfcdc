"""How is a frozen teacher read from disk? A folder in diffusers' layout, read strictly.

unet/ vae/ text_encoder/ tokenizer/ scheduler/scheduler_config.json, as TextToVideoSDPipeline saves them, and
clip.json {"frames", "fps"}: the clip the teacher was trained on, which diffusers' layout has no place for.
Weights are loaded as float32 whatever they are stored as, in eval mode, without gradients.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from transformers import AutoTokenizer, CLIPTextModel
from transformers.utils import logging as transformers_logging

from turbo_train.diffusion.prediction import PREDICTION_TYPES
from turbo_train.diffusion.schedule import Schedule, make_schedule
from turbo_train.errors import UserError
from turbo_train.nets.model import Model, Spacing
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.source import ClipFormat
from turbo_train.nets.text import CLIPText
from turbo_train.nets.vae import FrameVAE
from turbo_train.weights.hashes import file_sha256

REBUILD = "turbo-train world build (for the embedded world), or the folder of another model"
CLIP_FILE = "clip.json"
_WEIGHTS = ".safetensors", ".bin"
_PARTS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


def weights_sha256(folder: Path) -> str:
    """One hash of a folder's weight files: their names below it and their bytes, in order of name."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHTS and path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file. UserError if it is absent or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(found=f"{path} cannot be read ({error})", expected="a JSON object", run_next=REBUILD) from error
    if not isinstance(content, dict):
        raise UserError(found=f"{path} holds {type(content).__name__}", expected="a JSON object", run_next=REBUILD)
    return content


def load_teacher(folder: Path, clip: ClipFormat | None = None) -> Model:
    """Read a teacher. `clip` replaces clip.json, which published folders lack.

    UserError: the folder, a part or a file is missing; weights are missing, unknown, misshapen or cut off.
    """
    folder = Path(folder)
    _check_layout(folder)
    clip = clip or read_clip_format(folder)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    schedule, prediction_type = schedule_of(scheduler, folder)
    unet = _part(folder / "unet", UNet3DConditionModel.from_pretrained, "torch_dtype")
    vae = FrameVAE(_part(folder / "vae", AutoencoderKL.from_pretrained, "torch_dtype"))
    with _no_progress_bar():
        text_encoder = _part(folder / "text_encoder", CLIPTextModel.from_pretrained, "dtype")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    size = unet.config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    denoiser = ModelScopeDenoiser(unet, prediction_type)
    for part in (denoiser, vae, text_encoder):
        part.eval().requires_grad_(False)
    return Model(
        name=folder.name,
        denoiser=denoiser,
        text=CLIPText(text_encoder, tokenizer).eval(),
        vae=vae,
        schedule=schedule,
        latent_shape=(int(unet.config["in_channels"]), clip.frames, int(height), int(width)),
        fps=clip.fps,
        timestep_cond_dim=denoiser.timestep_cond_dim,
        folder=folder,
        spacing=spacing_of(scheduler, folder),
    )


def save_teacher(
    folder: Path,
    *,
    unet: UNet3DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: Any,
    scheduler: Any,
    clip: ClipFormat,
) -> None:
    """Write a teacher's folder, weights as float16. The networks passed in become float16 and back: values are rounded.

    `scheduler`: a diffusers scheduler; only its configuration is written.
    """
    with _no_progress_bar():
        for part, name in ((unet, "unet"), (vae, "vae"), (text_encoder, "text_encoder")):
            part.half().save_pretrained(folder / name)
            part.float()
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    content = json.dumps({"frames": clip.frames, "fps": clip.fps}, indent=2)
    (folder / CLIP_FILE).write_text(content + "\n", encoding="utf-8")


def read_clip_format(folder: Path) -> ClipFormat:
    """clip.json. UserError if it is absent or lacks whole numbers."""
    values = read_json(folder / CLIP_FILE)
    frames, fps = values.get("frames"), values.get("fps")
    if not (isinstance(frames, int) and isinstance(fps, int) and frames > 0 and fps > 0):
        found = f"{folder / CLIP_FILE}: frames {frames}, fps {fps}"
        raise UserError(found=found, expected="two positive whole numbers", run_next=REBUILD)
    return ClipFormat(frames, fps)


def schedule_of(config: dict[str, Any], where: Path) -> tuple[Schedule, str]:
    """Schedule and prediction_type of a diffusers scheduler_config.json. UserError for another kind of schedule."""
    kind, prediction_type = config.get("beta_schedule"), config.get("prediction_type", "epsilon")
    if kind != "scaled_linear" or prediction_type not in PREDICTION_TYPES:
        raise UserError(
            found=f"{where}: scheduler with beta_schedule {kind!r} and prediction_type {prediction_type!r}",
            expected=f"scaled_linear and one of {', '.join(PREDICTION_TYPES)}",
            run_next=REBUILD,
        )
    start, end = float(config["beta_start"]), float(config["beta_end"])
    steps, flat = int(config["num_train_timesteps"]), bool(config.get("rescale_betas_zero_snr", False))
    if flat and prediction_type == "epsilon":
        raise UserError(
            found=f"{where}: rescale_betas_zero_snr with prediction_type epsilon",
            expected="v_prediction: at zero terminal SNR eps says nothing about x_0",
            run_next=REBUILD,
        )
    return make_schedule(start, end, steps, zero_terminal_snr=flat), prediction_type


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Inside, transformers draws no bar of its own for a file that is read in a blink."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def spacing_of(config: dict[str, Any], where: Path) -> Spacing:
    """timestep_spacing of a scheduler_config.json; "leading" where it says nothing. UserError for another kind."""
    value = config.get("timestep_spacing", "leading")
    if value == "leading":
        return "leading"
    if value == "trailing":
        return "trailing"
    raise UserError(found=f"{where}: timestep_spacing {value!r}", expected="leading or trailing", run_next=REBUILD)


def _check_layout(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(found=f"no folder {folder}", expected="a teacher's folder", run_next=REBUILD)
    for part, name in _PARTS.items():
        if not (folder / part / name).is_file():
            raise UserError(
                found=f"no {part}/{name} in {folder}",
                expected=f"a teacher in diffusers' layout: {', '.join(p + '/' for p in _PARTS)}",
                run_next=REBUILD,
            )


def _part(folder: Path, read: Callable[..., Any], dtype_keyword: str) -> Any:
    """One network of a teacher, every weight accounted for."""
    if not any(path.suffix in _WEIGHTS for path in folder.iterdir()):
        raise UserError(found=f"no weights in {folder}", expected="a .safetensors file", run_next=REBUILD)
    try:
        options = {dtype_keyword: torch.float32, "local_files_only": True, "output_loading_info": True}
        network, info = read(folder, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(found=f"{folder} cannot be read ({error})", expected="whole files", run_next=REBUILD) from error
    wrong = [f"{kind[:-5]} {key}" for kind in ("missing_keys", "unexpected_keys") for key in sorted(info[kind])]
    wrong += [f"misshapen {key}" for key in info.get("mismatched_keys") or []]
    if wrong:
        raise UserError(
            found=f"{len(wrong)} weights of {folder} differ from its config.json: {', '.join(wrong[:3])}",
            expected="the weights that config.json describes",
            run_next=REBUILD,
        )
    return network
