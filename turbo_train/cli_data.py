"""How is `turbo-train precompute` called? Parsing and printing only; the work lies in turbo_train.data.precompute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turbo_train.errors import UserError
from turbo_train.exits import exit_code_of

COMMAND = "turbo-train precompute"
AGAIN = f"{COMMAND} --help"


def precompute(
    data: Annotated[str, typer.Option(help="world, a folder of clips with captions, or shards ({00..99}.tar).")],
    teacher: Annotated[str, typer.Option(metavar="world|ms|vc2|PATH", help="Whose VAE encodes.")],
    out: Annotated[Path, typer.Option(help="Folder of the latents; a stopped call goes on from there.")],
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="How many; more than there are clips takes other parts of them. Default: each once."),
    ] = None,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Latents in one .tar.")] = 256,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="In px; by default the teacher's.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Of a clip; by default the teacher's.")] = None,
    fps: Annotated[float | None, typer.Option(help="Of a clip's frames; by default the teacher's.")] = None,
    resize: Annotated[str, typer.Option(metavar="crop|squash", help="crop keeps the aspect.")] = "crop",
    seed: Annotated[int, typer.Option(min=0, help="Of the order and of the places in long clips.")] = 0,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="This process makes share I (from 0) of N; all N into one folder.")
    ] = "0/1",
    device: Annotated[str | None, typer.Option(help="By default cuda where there is one, else cpu.")] = None,
) -> None:
    """Encode clips once, so that training reads latents: no decoding and no VAE in its steps."""
    given = {"size": size, "frames": frames, "fps": fps}
    settings = [f"{name}={value}" for name, value in given.items() if value is not None]
    settings += [f"resize={resize}", f"seed={seed}"]
    counts = samples, samples_per_shard
    raise typer.Exit(exit_code_of(lambda: _precompute(data, teacher, out, counts, settings, shard, device)))


def _precompute(
    data: str,
    teacher: str,
    out: Path,
    counts: tuple[int | None, int],
    settings: list[str],
    shard: str,
    device: str | None,
) -> None:
    samples, samples_per_shard = counts
    process, processes = _share(shard)
    if data == "world" and samples is None:
        raise UserError(found="--data world, which has no end", expected="--samples N", run_next=AGAIN)

    import torch

    from turbo_train.assembly import teacher_source, with_clip
    from turbo_train.config import TrainConfig, with_settings
    from turbo_train.data.latents import LatentsIndex, vae_sha256
    from turbo_train.data.open import open_clips, wanted_clips
    from turbo_train.data.precompute import encoder_of
    from turbo_train.data.precompute import precompute as write
    from turbo_train.nets.base import load_base

    config = with_settings(TrainConfig("precompute", teacher, data), settings, COMMAND)
    model = with_clip(load_base(teacher_source(teacher), with_unet=False), config)
    wanted = wanted_clips(model, config.resize, config.fps)
    source = open_clips(data, wanted, config.seed, epochs=None if samples else 1)
    index = LatentsIndex(
        teacher=teacher,
        vae_sha256=vae_sha256(model.vae),
        latent_shape=wanted.latent_shape,
        size=(wanted.height_px, wanted.width_px),
        fps=wanted.fps,
        resize=wanted.resize,
        data=data,
        seed=config.seed,
        samples=samples,
        samples_per_shard=samples_per_shard,
        processes=processes,
    )
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model.vae.to(place)  # type: ignore[attr-defined]
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
        said = str(error).splitlines()[0]
        raise UserError(found=f"--device {place} ({said})", expected="cpu, cuda or cuda:N", run_next=AGAIN) from error
    made = write(source, encoder_of(model.vae, place), out, index, process, lambda text: typer.echo(text, err=True))
    typer.echo(f"{made.samples} latents in {made.shards} shards, {made.skipped} clips skipped: {out}", err=True)
    typer.echo(f"to train on them: --set data={out}", err=True)


def _share(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`. UserError."""
    process, _, processes = text.partition("/")
    if process.isdecimal() and processes.isdecimal() and int(process) < int(processes):
        return int(process), int(processes)
    raise UserError(found=f"--shard {text}", expected="I/N with I from 0 to N-1", run_next=AGAIN)
