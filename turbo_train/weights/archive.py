"""How is one file taken out of a fetched zip archive, and what of an archive that is damaged?"""

from __future__ import annotations

import lzma
import shutil
import zipfile
import zlib
from pathlib import Path

# What zipfile raises for an archive that is none, is damaged, encrypted or packed in an unknown way.
BROKEN = zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError


class NotInArchive(Exception):
    """The archive lacks the member, or it cannot be read: fetching the same bytes again is of no use."""


def take_out(archive: Path, member: str, target: Path) -> None:
    """Write one member of an archive to a file of ours, whatever names the archive holds. What is half written goes.

    NotInArchive. OSError: the target cannot be written; the archive is as it was.
    """
    try:
        with zipfile.ZipFile(archive) as content, content.open(member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    except KeyError as error:
        target.unlink(missing_ok=True)
        raise NotInArchive(f"it holds no {member}") from error
    except BROKEN as error:
        target.unlink(missing_ok=True)
        raise NotInArchive(f"it is damaged: {error}") from error
    except OSError:
        target.unlink(missing_ok=True)
        raise
