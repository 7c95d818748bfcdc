"""Which teacher lies under a student? Its files become a Model, and one hash says whether it is the right one."""

from __future__ import annotations

from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source
from turbo_train.nets.teacher import load_teacher, weights_sha256
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig, load_checkpoint
from turbo_train.weights.hashes import file_sha256


def load_base(source: Source, sizes: CheckpointConfig | None = None, *, with_unet: bool = True) -> Model:
    """The teacher of a source. sizes: of a VideoCrafter2 checkpoint that is not the published one.

    with_unet False: its UNet's weights are not wanted; where they can be left unread they are (videocrafter2).
    UserError: a layout that is no teacher's, and what the loaders say.
    """
    if source.layout == "diffusers":
        return load_teacher(source.path, source.clip)
    if source.layout == "videocrafter2":
        return load_checkpoint(source.path, sizes, with_unet=with_unet).with_clip(source.clip)
    raise UserError(
        found=f"{source.path} of layout {source.layout} in the place of a teacher",
        expected="a teacher: a folder in diffusers' layout, or VideoCrafter2's checkpoint",
        run_next="turbo-eval list models",
    )


def teacher_sha256(path: Path) -> str:
    """Of a checkpoint's bytes, or of the weight files that are read of a folder."""
    return file_sha256(path) if path.is_file() else weights_sha256(path)
