"""What does a timing say in sentences? Speed-ups, verdicts, what ended it and how small a change it could find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf

from turbo_eval.timing.cells import MARK, batches, label, significant, walls_s
from turbo_eval.timing.intervals import coefficient_of_variation
from turbo_eval.timing.power import smallest_found
from turbo_eval.timing.record import Difference, Ratio, Recipe, SpeedRecord, SpeedRow, SpeedUp, fingerprint
from turbo_eval.timing.speed_ups import verdict

POWER = 0.8


@dataclass(frozen=True)
class Paragraph:
    """A heading and its sentences; warns: whether they tell of something wrong."""

    title: str
    lines: tuple[str, ...]
    warns: bool = False


def paragraphs(record: SpeedRecord, comparison: tuple[str, ...] = ()) -> tuple[Paragraph, ...]:
    """In the order in which they are printed; those with nothing to say left out. comparison: with a baseline."""
    rows = {row.name: row for row in record.rows}
    found = (
        Paragraph(f"INVALID ({MARK.strip()}), not to be quoted", tuple(_reasons(record)), warns=True),
        Paragraph("speed-up, ratio of medians [95 % interval]", tuple(speed_up(s, rows) for s in record.speed_ups)),
        Paragraph("difference of the clips", tuple(_differences(record))),
        Paragraph("compared with the baseline", comparison),
        Paragraph("how it was measured", tuple(_method(record))),
        Paragraph("notes", tuple(_notes(record))),
    )
    return tuple(paragraph for paragraph in found if paragraph.lines)


def recipe_line(record: SpeedRecord) -> str:
    """What all rows have in common, such as `8 frames of 32x32 px, float32; 1 clip in a call; full VAE`."""
    recipes = [row.recipe for row in record.rows]
    if not recipes:
        return "no row"
    kinds, chosen = (tuple(dict.fromkeys(map(said, recipes))) for said in (_clip, _options))
    batch = batches(record)
    calls = f"{batch[0]} {'clip' if batch[0] == 1 else 'clips'} in a call"
    said = [" and ".join(kinds), *([calls] if len(batch) == 1 else []), *(chosen if len(chosen) == 1 else [])]
    return "; ".join(said)


def speed_up(found: SpeedUp, rows: Mapping[str, SpeedRow]) -> str:
    """`a is 17.3x [16.8, 17.7] as fast as b end to end, ... from text to frames and ... in denoising`."""
    names = [label(rows[name]) if name in rows else name for name in (found.row, found.against)]
    calls = [rows[name].network_calls for name in (found.row, found.against) if name in rows]
    counted = " ({} against {})".format(*calls) if len(calls) == 2 else ""
    ends = (
        f"{_ratio(found.end_to_end)} as fast as {names[1]} end to end, {_ratio(found.to_frames)} from text to frames "
        f"and {_ratio(found.denoising)} in denoising"
    )
    difference = rows[found.row].difference if found.row in rows else None
    clips = f"; clips: {_difference(difference)}" if difference and difference.than == found.against else ""
    return f"{names[0]} is {ends}; network calls {found.calls:.3g}x{counted}{clips}"


def _ratio(ratio: Ratio) -> str:
    unsure = " (no difference found)" if verdict(ratio) == "no difference" else ""
    return "{}x [{}, {}]{}".format(*(significant(x, 3) for x in (ratio.ratio, ratio.low, ratio.high)), unsure)


def _reasons(record: SpeedRecord) -> Iterator[str]:
    rows: dict[str, list[str]] = {}
    for row in record.rows:
        for reason in row.reasons:
            rows.setdefault(f"{reason.code}: {reason.text}", []).append(row.name)
    yield from (f"{', '.join(names)}: {reason}" for reason, names in rows.items())


def _differences(record: SpeedRecord) -> Iterator[str]:
    """Of the clips of rows that race others than those whose clips theirs were compared with."""
    beside = {(found.row, found.against) for found in record.speed_ups}
    for row in record.rows:
        if row.difference is not None and (row.name, row.difference.than) not in beside:
            yield f"{row.name} against {row.difference.than}: {_difference(row.difference)}"


def _difference(difference: Difference) -> str:
    if difference.psnr_db is None:
        return "the same in every pixel"
    levels = (
        f"other by {difference.max_levels} of 255 levels at most, {significant(difference.mean_levels, 2)} on average"
    )
    return f"{levels}, PSNR {difference.psnr_db:.1f} dB"


def _method(record: SpeedRecord) -> Iterator[str]:
    order = "runs interleaved (a, b, ..., b, a); " if len(record.rows) > 1 else ""
    yield f"{order}stages and wall clock from text to finished files"
    options = _by({row.name: _options(row.recipe) for row in record.rows})
    yield from (f"{said}: {', '.join(names)}" for said, names in options.items() if len(options) > 1)
    ends = _by({row.name: row.stopped_by for row in record.rows})
    for end, names in ends.items():
        yield f"ended by: {end}" + (f" ({', '.join(names)})" if len(ends) > 1 else "")
    if small := list(_smallest(record)):
        yield f"slow-downs found with {100 * POWER:.0f} % power from: {', '.join(small)}"
    calls = [min(walls_s(row)) for row in record.rows if walls_s(row)]
    if calls:
        share = 100 * record.harness_s / min(calls)
        added = f"{significant(1e6 * record.harness_s, 2)} us to a call"
        yield f"measuring adds {added}: {significant(share, 2)} % of the shortest"
    rates = [f"{significant(rate, 3)} TFLOP/s in {dtype}" for dtype, rate in record.rates.matmul_tflops.items()]
    yield f"this machine reached: matmul {', '.join(rates) or '-'}; copy {significant(record.rates.copy_gb_s, 3)} GB/s"
    for name, fields in (("hardware", record.hardware), ("software", record.software)):
        yield f"{name} {fingerprint(fields)}: {_said(fields)}"
    if record.code:
        yield f"code: {_said(record.code)}"


def _said(fields: Mapping[str, object]) -> str:
    """`threads 2, torch 2.14.1`: what is there."""
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None and value != {})


def _by(said: Mapping[str, str]) -> dict[str, list[str]]:
    """What is said -> of whom."""
    found: dict[str, list[str]] = {}
    for name, text in said.items():
        found.setdefault(text, []).append(name)
    return found


def _smallest(record: SpeedRecord) -> Iterator[str]:
    for row in record.rows:
        runs = walls_s(row)
        found = smallest_found(coefficient_of_variation(runs), len(runs), POWER) if len(runs) > 1 else inf
        if 0 < found < inf:
            yield f"{label(row)} {significant(100 * found, 2)} %"


def _notes(record: SpeedRecord) -> Iterator[str]:
    yield from record.notes
    for row in record.rows:
        yield from (f"{row.name}: {note}" for note in row.notes)


def _clip(recipe: Recipe) -> str:
    return f"{recipe.frames} frames of {recipe.height_px}x{recipe.width_px} px, {recipe.dtype}"


def _options(recipe: Recipe) -> str:
    fields = asdict(recipe)
    on = [f"compile {recipe.compile}"] * (recipe.compile != "off")
    on += [name.replace("_", " ") for name in ("cuda_graphs", "channels_last", "cached_text") if fields[name]]
    return ", ".join([*on, f"{recipe.decode_frames} frames decoded at a time", f"{recipe.vae} VAE"])
