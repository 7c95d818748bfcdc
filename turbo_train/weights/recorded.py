"""Which sha256 did a file have when it was first seen? For files whose sha256 nobody has published.

`recorded.json` lies in $TURBO_WEIGHTS, or where that is not set or closed to us in the user's cache
(`$XDG_CACHE_HOME/turbo-video/`). An entry belongs to an address with its revision. To accept another file on purpose,
remove its entry.
"""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.alone import alone
from turbo_train.weights.hashes import cache_home
from turbo_train.weights.places import root
from turbo_train.weights.table import WeightFile

NAME = "recorded.json"


def record_files() -> tuple[Path, ...]:
    """Where records may lie, the first choice first."""
    own = cache_home() / "turbo-video" / NAME
    below = root()
    return (own,) if below is None else (below / NAME, own)


def recorded_sha256(file: WeightFile) -> str:
    """What was recorded; "" for a file that was never seen. UserError: the records cannot be read."""
    path = record_of(file)
    return _read(path)[file.source] if path else ""


def record_of(file: WeightFile) -> Path | None:
    """The records that have an entry for a file; None where none has. UserError: they cannot be read."""
    return next((path for path in record_files() if _read(path).get(file.source)), None)


def record(file: WeightFile, digest: str) -> Path:
    """Keep a sha256 for good. Returns where. OSError: no place can be written."""
    *preferred, last = record_files()
    for path in preferred:
        try:
            return _write(path, file, digest)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):  # weights kept for everybody
                raise
    return _write(last, file, digest)


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            found=f"{path} cannot be read ({error})",
            expected="the recorded sha256 of files, as JSON",
            run_next=f"mend or remove {path}; removed, the next pull or verify records anew",
        ) from error
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _write(path: Path, file: WeightFile, digest: str) -> Path:
    with alone(path.with_name(f".{NAME}.lock"), busy=lambda: None):
        content = _read(path) | {file.source: digest}
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as handle:
            json.dump(content, handle, indent=1, sort_keys=True)
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(path)
    return path
