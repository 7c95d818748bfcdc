"""How is a file fetched from a url so that a cut connection costs only what was not yet there?

RFC 9110, sections 13.1.5 and 14: what is there already is left out by Range, and If-Range makes the server send the
whole file when it has changed since. A server that gives no validator is asked for the whole file each time.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from turbo_train.errors import UserError
from turbo_train.weights.alone import Taken, alone

TIMEOUT_S = 60.0  # without a byte
CHUNK_BYTES = 2**20


class Cut(OSError):
    """The connection ended early, and asking again brought nothing."""


def part_of(target: Path) -> Path:
    """The name that a file bears until it is whole."""
    return target.with_name(target.name + ".part")


def fetch(url: str, target: Path, advance: Callable[[int], object]) -> Path:
    """Fetch into `part_of(target)`, going on where an earlier call stopped, and return that.

    advance: told how many bytes more are there, those of earlier calls included.
    Cut or urllib.error.URLError: run again to go on. UserError: another process fetches the same file.
    """
    part = part_of(target)
    try:
        with alone(part) as file:
            _fill(url, file, target, advance)
    except Taken as error:
        raise UserError(
            found=f"another process is fetching {part}",
            expected="one at a time",
            run_next="the same command again when that one is done",
        ) from error
    return part


def _fill(url: str, file: IO[bytes], target: Path, advance: Callable[[int], object]) -> None:
    said = 0

    def moved() -> None:
        nonlocal said
        advance(file.tell() - said)
        said = file.tell()

    try:
        best = file.seek(0, 2)
        while not _once(url, file, _marker(part_of(target)), moved):
            if file.tell() <= best:
                raise Cut(f"the connection ended after {file.tell()} bytes")
            best = file.tell()
        if file.tell() == 0:
            raise Cut("the answer is empty")
    finally:
        if file.tell() == 0:
            discard(target)


def discard(target: Path) -> None:
    """Forget what was fetched for a file."""
    for path in (part_of(target), _marker(part_of(target))):
        path.unlink(missing_ok=True)


def _once(url: str, file: IO[bytes], marker: Path, moved: Callable[[], None]) -> bool:
    """One request. Whether the file is whole now; `file` stands at its end."""
    have = file.seek(0, 2)
    validator = marker.read_text(encoding="utf-8") if marker.is_file() else ""
    resume = {"Range": f"bytes={have}-", "If-Range": validator} if have and validator else {}
    request = urllib.request.Request(url, headers={"User-Agent": "turbo-video", "Accept-Encoding": "identity"} | resume)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()  # it is also the answer, with a socket of its own
        if error.code != 416 or not resume:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True
        file.seek(file.truncate(0))
        return False
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = file.seek(file.truncate(0))
            marker.write_text(_validator(response.headers), encoding="utf-8")
        length = response.headers.get("Content-Length")
        moved()
        ended = _copy(response, file, moved)
    return ended and (length is None or file.tell() == have + int(length))


def _copy(response: http.client.HTTPResponse, file: IO[bytes], moved: Callable[[], None]) -> bool:
    """Whether the body ended by itself. What arrived is in the file either way."""
    try:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            moved()
    except http.client.IncompleteRead as error:
        file.write(error.partial)
        return False
    except (ConnectionError, TimeoutError, ssl.SSLError):
        return False
    finally:
        file.flush()
    return True


def _validator(headers: Mapping[str, str]) -> str:
    """A strong one: RFC 9110, section 13.1.5."""
    tag = headers.get("ETag") or ""
    return "" if tag.startswith("W/") else tag or headers.get("Last-Modified") or ""


def _marker(part: Path) -> Path:
    return part.with_name(part.name + ".of")
