"""Do cached latents fit a run? By latents.json beside them, or where there is none by the first samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from turbo_train.data.clips import Wanted
from turbo_train.data.latents import LATENTS, LatentsIndex, read_index, read_latents, shown
from turbo_train.data.skipped import Unusable
from turbo_train.data.tar import read_shard
from turbo_train.data.urls import is_url
from turbo_train.errors import UserError

DONE = "latents-{process:03d}-done.json"  # what each process of a precompute leaves at its end
LOOKED_AT = 8  # samples of the first shard, before latents without latents.json are refused


def check_finished(folder: Path) -> None:
    """UserError: a precompute that has not come to its end in all its processes."""
    index = read_index(folder)
    if index is None:
        return
    left = [n for n in range(index.processes) if not (folder / DONE.format(process=n)).is_file()]
    if left:
        raise UserError(
            found=f"{folder}, where {len(left)} of {index.processes} processes have not finished their latents",
            expected="finished latents, or the shards that are there by a pattern",
            run_next=f"turbo-train precompute again with --out {folder}, or --set data={folder}/*.tar",
        )


def index_of(urls: tuple[str, ...]) -> LatentsIndex | None:
    """latents.json beside the shards; shards from URLs have none. UserError: shards of several folders that differ."""
    folders = dict.fromkeys(Path(url).parent for url in urls if not is_url(url))
    found = {folder: read_index(folder) for folder in folders}
    told = [(i.vae_sha256, i.latent_shape, i.fps) if i else None for i in found.values()]
    if len(set(told)) > 1:
        raise UserError(
            found=f"shards of {len(folders)} folders that were not made alike: {', '.join(map(str, folders))}",
            expected="latents of one VAE, shape and speed, or clips only",
            run_next="--set data= with one of the folders",
        )
    return next(iter(found.values()), None)


def check_index(index: LatentsIndex, urls: tuple[str, ...], wanted: Wanted, vae: Callable[[], str]) -> None:
    """UserError: latents of another shape, speed or VAE than wanted."""
    where, frames, (height, width) = Path(urls[0]).parent, index.latent_shape[1], index.size
    if index.latent_shape != wanted.latent_shape:
        raise UserError(
            found=f"latents of shape {shown(index.latent_shape)} in {where}, of {frames} frames of {height}x{width} px",
            expected=f"{shown(wanted.latent_shape)} (C x T x h x w), for {wanted}",
            run_next=f"--set frames={frames} --set size={height}x{width}, or turbo-train precompute",
        )
    if index.fps != wanted.fps:
        raise UserError(
            found=f"latents of clips at {index.fps:g} fps in {where}",
            expected=f"{wanted.fps:g} fps",
            run_next=f"--set fps={index.fps:g}, or turbo-train precompute",
        )
    if index.vae_sha256 != vae():
        raise UserError(
            found=f"latents in {where} by another VAE (of teacher {index.teacher})",
            expected="latents by the VAE of the run's teacher",
            run_next="turbo-train precompute with this teacher, or --set teacher= with that one",
        )


def hold_latents(urls: Sequence[str], wanted: Wanted) -> bool:
    """Whether shards without latents.json hold latents, by the first samples of the first one that can be read.

    UserError: latents, none of which fits.
    """
    for url in urls[:LOOKED_AT]:
        wrong: list[str] = []
        try:
            for packed in read_shard(url, lambda index: index < LOOKED_AT):
                if LATENTS not in packed.parts:
                    return False
                try:
                    read_latents(packed.parts[LATENTS], wanted.latent_shape)
                except Unusable as why:
                    wrong.append(f"{Path(url).name}/{packed.key}: {why}")
                else:
                    return True
                if len(wrong) == LOOKED_AT:
                    break
        except Unusable:
            pass  # this one will be skipped by name; perhaps the next one is whole
        if wrong:
            raise UserError(
                found=wrong[0],
                expected=f"latents for {wanted}",
                run_next="turbo-train precompute, or --set size, frames and fps as the latents were made",
            )
    return False
