"""How is a frozen teacher read from disk? A folder in diffusers' layout, read strictly.

unet/ vae/ text_encoder/ tokenizer/ scheduler/scheduler_config.json, as TextToVideoSDPipeline saves them, and
clip.json {"frames", "fps"}: the clip the teacher was trained on, which diffusers' layout has no place for.
Weights are loaded as float32 whatever they are stored as, in eval mode, without gradients. A pickle with code in it
is not opened, and a tokenizer that brings code is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from transformers import AutoTokenizer, CLIPTextModel
from transformers.utils import logging as transformers_logging

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import first_line, read_json, remedy
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.scheduler_config import read_scheduler
from turbo_train.nets.source import ClipFormat, Source
from turbo_train.nets.tensor_files import read_tensors
from turbo_train.nets.text import CLIPText
from turbo_train.nets.vae import FrameVAE
from turbo_train.weights.hashes import file_sha256

CLIP_FILE = "clip.json"
_WEIGHTS = ".safetensors", ".bin"
_VOCABULARY = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either; transformers invents what it lacks
_PARTS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


def weights_sha256(folder: Path) -> str:
    """One hash of the weight files that load_teacher reads: their names and their bytes, in order of name.

    Other files beside them change nothing: an fp16 sister, a trainer's notes. Nor do the configurations.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_weight_files(folder).items(), key=lambda item: PurePosixPath(item[0])):
        digest.update(f"{name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def load_teacher(folder: Path, clip: ClipFormat | None = None) -> Model:
    """Read a teacher. `clip` replaces clip.json, which published folders lack.

    UserError: the folder, a part or a file is missing; weights are missing, unknown, misshapen or cut off.
    """
    folder = Path(folder)
    _check_layout(folder)
    clip = clip or read_clip_format(folder)
    scheduler = read_scheduler(folder / "scheduler" / "scheduler_config.json")
    unet = _part(folder, "unet", UNet3DConditionModel.from_pretrained, "torch_dtype")
    vae = FrameVAE(_part(folder, "vae", AutoencoderKL.from_pretrained, "torch_dtype"))
    with _no_progress_bar():
        text_encoder = _part(folder, "text_encoder", CLIPTextModel.from_pretrained, "dtype")
    tokenizer = _tokenizer(folder / "tokenizer", text_encoder.config.vocab_size)
    height, width = _latent_size(unet.config["sample_size"], folder)
    denoiser = ModelScopeDenoiser(unet, scheduler.prediction_type)
    for part in (denoiser, vae, text_encoder):
        part.eval().requires_grad_(False)
    return Model(
        name=folder.name,
        denoiser=denoiser,
        text=CLIPText(text_encoder, tokenizer).eval(),
        vae=vae,
        schedule=scheduler.schedule,
        latent_shape=(int(unet.config["in_channels"]), clip.frames, int(height), int(width)),
        fps=clip.fps,
        timestep_cond_dim=denoiser.timestep_cond_dim,
        path=folder,
        spacing=scheduler.spacing,
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
        raise UserError(found=found, expected="two positive whole numbers", run_next=remedy(folder))
    return ClipFormat(frames, fps)


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


def _check_layout(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(found=f"no folder {folder}", expected="a teacher's folder", run_next=remedy(folder))
    for part, name in _PARTS.items():
        if not (folder / part / name).is_file():
            raise UserError(
                found=f"no {part}/{name} in {folder}",
                expected=f"a teacher in diffusers' layout: {', '.join(p + '/' for p in _PARTS)}",
                run_next=remedy(folder),
            )


def _weight_files(folder: Path) -> dict[str, Path]:
    """`unet/diffusion_pytorch_model.safetensors` and its like: the weights that are read, not all that lie there."""
    return {name: path for name, path in Source("diffusers", folder).files() if path.suffix in _WEIGHTS}


def _part(folder: Path, part: str, read: Callable[..., Any], dtype_keyword: str) -> Any:
    """One network of a teacher, every weight accounted for."""
    where = folder / part
    files = [path for name, path in _weight_files(folder).items() if name.startswith(f"{part}/")]
    if not files:
        raise UserError(found=f"no weights in {where}", expected="a .safetensors file", run_next=remedy(where))
    pickles = [path for path in files if path.suffix == ".bin"]
    for path in pickles:
        read_tensors(path)  # refuses code and damage, in our words
    options = {dtype_keyword: torch.float32, "local_files_only": True, "output_loading_info": True}
    if len(pickles) in (0, len(files)):
        options["use_safetensors"] = not pickles  # or else diffusers tries both, and prints that it does
    try:
        network, info = read(where, **options)
    except Exception as error:  # what the files hold decides which of a dozen kinds it is
        raise _unreadable(where, error) from error
    wrong = [f"{kind[:-5]} {key}" for kind in ("missing_keys", "unexpected_keys") for key in sorted(info[kind])]
    wrong += [f"misshapen {key}" for key in info.get("mismatched_keys") or []]
    if wrong:
        raise UserError(
            found=f"{len(wrong)} weights of {where} differ from its config.json: {', '.join(wrong[:3])}",
            expected="the weights that config.json describes",
            run_next=remedy(where),
        )
    return network


def _tokenizer(folder: Path, vocabulary: int) -> Any:
    """The tokenizer. vocabulary: how many tokens the text encoder knows."""
    if not any(all((folder / name).is_file() for name in names) for names in _VOCABULARY):
        wanted = " or ".join(" with ".join(names) for names in _VOCABULARY)
        raise UserError(found=f"no vocabulary in {folder}", expected=wanted, run_next=remedy(folder))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the Rust library raises Exception itself
        raise _unreadable(folder, error) from error
    if len(tokenizer) > vocabulary:
        raise UserError(
            found=f"{folder} with {len(tokenizer)} tokens",
            expected=f"at most the {vocabulary} that the text encoder knows",
            run_next=remedy(folder),
        )
    return tokenizer


def _latent_size(size: Any, folder: Path) -> tuple[int, int]:
    """Height and width of latents, by the UNet's sample_size."""
    sides = (size, size) if isinstance(size, int) else tuple(size or ())
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        found = f"sample_size {size!r} in {folder / 'unet' / 'config.json'}"
        raise UserError(found=found, expected="one or two positive whole numbers", run_next=remedy(folder / "unet"))
    return sides[0], sides[1]


def _unreadable(where: Path, error: Exception) -> UserError:
    return UserError(
        found=f"{where} cannot be read ({first_line(error)})", expected="whole files", run_next=remedy(where)
    )
