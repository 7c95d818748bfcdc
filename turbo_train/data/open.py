"""Which source of samples does `data` name? The world's renderer, a folder of clips, or shards of clips or latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from turbo_train.config import TrainConfig
from turbo_train.data.clips import Wanted
from turbo_train.data.fitted import FittedWorld
from turbo_train.data.folder import Folder, list_items
from turbo_train.data.latents import INDEX, vae_sha256
from turbo_train.data.latents_fit import check_finished, check_index, hold_latents, index_of
from turbo_train.data.resize import Resize
from turbo_train.data.sample import Source
from turbo_train.data.shards import Shards
from turbo_train.data.urls import SHARD_SUFFIXES, WORLD, expanded, no_such_data
from turbo_train.data.world_stream import WorldStream
from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.world.scene import FRAMES, SIZE_PX


def open_source(config: TrainConfig, teacher: Model) -> Source:
    """The samples of a run. teacher: with the run's clip, its VAE as it was loaded (latents are told by its weights).

    UserError: no such place, nothing in it, latents of another shape, speed or VAE.
    """
    wanted = wanted_clips(teacher, config.resize, config.fps)
    return open_data(config.data, wanted, config.seed, lambda: vae_sha256(teacher.vae))


def wanted_clips(teacher: Model, how: Resize, fps: float | None = None) -> Wanted:
    """The teacher's default clip. fps None: the teacher's."""
    _, frames, height, width = teacher.latent_shape
    factor = teacher.vae.factor
    return Wanted(frames, height * factor, width * factor, float(fps or teacher.fps), teacher.latent_shape, how)


def open_data(data: str, wanted: Wanted, seed: int, vae: Callable[[], str] | None) -> Source:
    """The source that a recipe's `data` names. vae: asked for the VAE's sha256 where latents say whose they are;
    None: latents are not wanted.
    """
    path = Path(data).expanduser()
    if data == WORLD:
        return _world(seed, wanted)
    if path.is_dir():
        visible = (file for file in sorted(path.iterdir()) if not file.name.startswith("."))
        urls = tuple(str(file) for file in visible if file.name.endswith(SHARD_SUFFIXES))
        if not urls and not (path / INDEX).is_file():
            return Folder(path, list_items(path), wanted, seed)
        check_finished(path)
        if not urls:
            raise no_such_data(f"{path}, latents without any shard")
    elif path.is_file() and path.name.endswith(SHARD_SUFFIXES):
        urls = (str(path),)
    else:
        urls = expanded(data, path)
    index = index_of(urls)
    latents = index is not None or hold_latents(urls, wanted)
    if latents and vae is None:
        raise UserError(found=f"latents in {data}", expected="clips", run_next="--data with the clips themselves")
    if index is not None and vae is not None:
        check_index(index, urls, wanted, vae)
    return Shards(urls, wanted, latents, seed)


def open_clips(data: str, wanted: Wanted, seed: int, epochs: int | None) -> Source:
    """Clips only, for so many epochs (None: without end). UserError: as `open_source`, and latents."""
    source = open_data(data, wanted, seed, None)
    return replace(source, epochs=epochs) if isinstance(source, Shards | Folder) else source


def _world(seed: int, wanted: Wanted) -> Source:
    if wanted.frames > FRAMES:
        raise UserError(
            found=f"{wanted.frames} frames wanted of the world's clips, which have {FRAMES}",
            expected=f"at most {FRAMES}",
            run_next=f"the same with frames={FRAMES}, or with clips",
        )
    same = (wanted.frames, wanted.height_px, wanted.width_px) == (FRAMES, SIZE_PX, SIZE_PX)
    return WorldStream(seed) if same else FittedWorld(WorldStream(seed), wanted)
