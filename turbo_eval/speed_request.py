"""What was `turbo-eval speed` asked to do, and which shortcuts may each row take? Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from turbo_eval.model_table import ModelEntry
from turbo_eval.timing import row_names
from turbo_train.errors import UserError
from turbo_train.nets.fast_path import COMPILES, RANDOM_TINY_VAE, Compile, FastPath
from turbo_train.sampling.setting import DTYPES
from turbo_train.world import WEIGHTS

DeviceKind = Literal["cpu", "cuda"]
Vae = Literal["full", "tiny"]
PAIRS: dict[DeviceKind, tuple[str, str]] = {"cpu": ("world-turbo", "world-teacher"), "cuda": ("vc2-turbo", "vc2")}
USUAL_DTYPE: dict[DeviceKind, str] = {"cpu": "float32", "cuda": "bfloat16"}
WORLD_TINY_VAE = WEIGHTS / "tiny_vae"
MAX_S = 120.0


@dataclass(frozen=True)
class SpeedRequest:
    """What `turbo-eval speed` was asked to do. models, against: texts; () and None: the usual pair of the device.

    steps: of the models that name none. size: height and width in pixels; frames, size None: as the model says.
    dtype None: float32 on a CPU, bfloat16 on a GPU. compile to decode_frames None: as FastPath has it.
    tiny_vae: the folder of vae "tiny"; None: the world's own, or random with random_weights.
    max_s: of the measuring. scores: a scored run whose metric is drawn over the time. baseline: an earlier record.
    """

    models: tuple[str, ...] = ()
    against: str | None = None
    steps: tuple[int, ...] = ()
    batches: tuple[int, ...] = (1,)
    frames: int | None = None
    size: tuple[int, int] | None = None
    dtype: str | None = None
    compile: Compile | None = None
    cuda_graphs: bool | None = None
    channels_last: bool | None = None
    cached_text: bool | None = None
    decode_frames: int | None = None
    vae: Vae = "full"
    tiny_vae: Path | None = None
    random_weights: bool = False
    each_option: bool = False
    max_s: float = MAX_S
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    out: Path | None = None
    scores: Path | None = None
    metric: str | None = None
    baseline: Path | None = None
    save_baseline: Path | None = None
    force_incomparable: bool = False


def filled(request: SpeedRequest, device_kind: DeviceKind) -> SpeedRequest:
    """With the usual pair and dtype of this kind of device. A GPU's usual pair has random weights: nothing to fetch."""
    asked = request if request.dtype else replace(request, dtype=USUAL_DTYPE[device_kind])
    if asked.models:
        return asked
    model, against = PAIRS[device_kind]
    pair = replace(asked, models=(model,), random_weights=asked.random_weights or device_kind == "cuda")
    return pair if asked.each_option else replace(pair, against=against)


def check(request: SpeedRequest, device_kind: DeviceKind) -> None:
    """UserError for options that exclude each other, do nothing, or need another device."""
    if request.compile not in (None, *COMPILES):
        raise _mistake(f"--compile {request.compile}", f"one of {', '.join(COMPILES)}", "--compile default")
    if request.dtype not in (None, *DTYPES):
        raise _mistake(f"--dtype {request.dtype}", f"one of {', '.join(DTYPES)}", "--dtype float32")
    if request.vae not in ("full", "tiny"):
        raise _mistake(f"--vae {request.vae}", "full or tiny", "--vae tiny FOLDER")
    if request.tiny_vae is not None and request.vae != "tiny":
        named, own = ",".join((*request.models, str(request.tiny_vae))), request.tiny_vae
        expected = "--vae tiny before the folder of a tiny VAE, or commas between several models"
        raise _mistake(f"{own} without --vae tiny", expected, f"--vae tiny {own}, or --model {named}")
    if request.cuda_graphs and device_kind == "cpu":
        raise _mistake("--cuda-graphs on a CPU", "a GPU, whose calls a CUDA graph records", "leave --cuda-graphs out")
    if request.against is not None and not request.models:
        raise _mistake("--against without --model", "a model to hold against it", f"--model {PAIRS[device_kind][0]}")
    if request.metric is not None and request.scores is None:
        raise _mistake("--metric without --scores", "the folder of a scored run", "--scores RUN")
    if request.force_incomparable and request.baseline is None:
        raise _mistake("--force-incomparable without --baseline", "an earlier record", "--baseline FILE")


def _mistake(found: str, expected: str, run_next: str) -> UserError:
    return UserError(found=found, expected=expected, run_next=run_next)


WITHOUT = FastPath("off", cuda_graphs=False, channels_last=False, cached_text=False, decode_frames=1, tiny_vae=None)
"""Everything off that this project does for speed; frames are decoded one at a time."""


def fast_path(asked: SpeedRequest, entry: ModelEntry) -> FastPath:
    """What was asked for, else FastPath's own; nothing beside --each-option. UserError: no tiny VAE for this model."""
    if asked.each_option:
        return WITHOUT
    names = {field.name for field in fields(FastPath)} - {"tiny_vae"}
    chosen: dict[str, Any] = {name: value for name in names if (value := getattr(asked, name)) is not None}
    return FastPath(**chosen, tiny_vae=_tiny_vae(asked, entry))


def each_option(asked: SpeedRequest, entry: ModelEntry, device_kind: DeviceKind) -> dict[str, FastPath]:
    """--each-option: name -> each option of this device alone, then all together. Declined ones are left out."""
    alone = dict(_options(asked, entry, device_kind))
    all_of_them = {field: value for changed in alone.values() for field, value in changed.items()}
    return {name: replace(WITHOUT, **changed) for name, changed in {**alone, row_names.ALL: all_of_them}.items()}


def _options(asked: SpeedRequest, entry: ModelEntry, device_kind: DeviceKind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name -> what it changes."""
    if asked.compile != "off":
        yield row_names.COMPILED, {"compile": asked.compile or "default"}
    if device_kind == "cuda" and asked.cuda_graphs is not False:
        yield row_names.GRAPHS, {"cuda_graphs": True}
    if asked.channels_last is not False:
        yield row_names.CHANNELS, {"channels_last": True}
    if asked.cached_text is not False:
        yield row_names.CACHED, {"cached_text": True}
    yield row_names.DECODE, {"decode_frames": asked.decode_frames}
    if (folder := _tiny_vae(asked, entry)) is not None:
        yield row_names.TINY, {"tiny_vae": folder}


def _tiny_vae(asked: SpeedRequest, entry: ModelEntry) -> Path | None:
    """The folder of --vae tiny: the given one, else the world's for the world's models, else random numbers."""
    if asked.vae != "tiny":
        return None
    folder = asked.tiny_vae or (WORLD_TINY_VAE if _is_of_the_world(entry) else None)
    if folder is None:
        if asked.random_weights:
            return RANDOM_TINY_VAE
        raise _mistake(
            f"--vae tiny for {entry.name} without a folder",
            "a folder with the config.json and the weights of diffusers' AutoencoderTiny that knows its latents",
            "--vae tiny FOLDER, or --random-weights where only the time counts",
        )
    if not (folder / "config.json").is_file():
        raise _mistake(
            f"no config.json in {folder}",
            "a folder with the config.json and the weights of diffusers' AutoencoderTiny",
            "--vae full",
        )
    return folder


def _is_of_the_world(entry: ModelEntry) -> bool:
    """Whether its latents are those of the embedded world's VAE: it is that teacher, or a student of it."""
    source = entry.source
    while source is not None and source.base is not None:
        source = source.base
    return source is not None and source.path.resolve() == (WEIGHTS / "teacher").resolve()
