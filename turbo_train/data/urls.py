"""Which shards does a pattern name? Braces as WebDataset expands them, * and ? on the disk, URLs as they are."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from turbo_train.errors import UserError, near

WORLD = "world"
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_PATTERN = re.compile(r"[{*?[]|::")
_EXPECTED = "world, a folder of clips with captions, a folder of .tar shards, one shard or a pattern like {00..99}.tar"


def is_url(shard: str) -> bool:
    """Whether WebDataset fetches it; otherwise it is a path."""
    return bool(_URL.match(shard))


def expanded(data: str, path: Path) -> tuple[str, ...]:
    """Paths and URLs of what is neither a folder nor a shard. UserError: nothing of it is there."""
    from webdataset.shardlists import expand_urls

    try:
        urls = [url for part in expand_urls(data) for url in _globbed(part)]
    except (ValueError, AssertionError) as error:  # unbalanced braces; ${NAME} without the variable WDS_NAME
        raise no_such_data(f"data {data!r}: {error}") from error
    if urls and any(is_url(url) or (Path(url).is_file() and url != str(path)) for url in urls):
        return tuple(dict.fromkeys(urls))
    if _PATTERN.search(data):
        first = f", the first of them {urls[0]}{_near(Path(urls[0]))}" if urls else ""
        raise no_such_data(f"data {data!r}, a pattern of {len(urls)} shards of which none is there{first}")
    if path.is_file():
        raise no_such_data(f"data {data!r}, a file that is no shard ({', '.join(SHARD_SUFFIXES)})")
    raise no_such_data(f"data {data!r}, which is not there{near(data, [WORLD]) or _near(path)}")


def _globbed(url: str) -> list[str]:
    if is_url(url) or not glob.has_magic(url):
        return [url if is_url(url) else str(Path(url).expanduser())]
    return sorted(glob.glob(str(Path(url).expanduser())))  # noqa: PTH207 - the pattern may be absolute


def _near(path: Path) -> str:
    """A neighbour with a similar name."""
    if not path.parent.is_dir():
        return f", nor is {path.parent}"
    return near(path.name, (other.name for other in path.parent.iterdir()))


def no_such_data(found: str) -> UserError:
    """The error for data that is not there. found: says what was asked for."""
    return UserError(found=found, expected=_EXPECTED, run_next="--set data=PATH with another path")
