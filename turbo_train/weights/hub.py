"""How is a file fetched from the Hugging Face hub? Through huggingface_hub: its token, mirrors, cache and retries.

Its own progress bar is silent where there is no terminal, so it is replaced by one that tells `advance`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from turbo_train.weights import refusals
from turbo_train.weights.table import WeightFile


def fetch_from_hub(
    file: WeightFile, advance: Callable[[int], object], *, cache: Path | None = None, folder: Path | None = None
) -> Path:
    """Into the hub's cache, or into a folder. Returns where it is. advance: told of every byte that comes.

    UserError: no network, no access, no such file. OSError: it cannot be written.
    """
    from huggingface_hub import errors, hf_hub_download

    network = errors.HTTPError  # type: ignore[attr-defined]  # of httpx, under whatever name the hub's client has it
    bar: Any = type("Bar", (_Bar,), {"advance": staticmethod(advance)})
    try:
        return Path(
            hf_hub_download(
                file.repository,
                file.file,
                revision=file.revision or "main",
                cache_dir=cache,
                local_dir=folder,
                tqdm_class=bar,
            )
        )
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise refusals.unreachable(file, error) from error
    except errors.GatedRepoError as error:
        raise refusals.closed(file, error) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise refusals.gone(file, error) from error
    except errors.HfHubHTTPError as error:
        closed = error.response.status_code in (401, 403)
        raise (refusals.closed if closed else refusals.unreachable)(file, error) from error
    except (network, ConnectionError, TimeoutError) as error:
        raise refusals.unreachable(file, error) from error


class _Bar:
    """What huggingface_hub asks of a progress bar; its Xet client reports bytes of the file and of the network."""

    advance: Callable[[int], object]

    def __init__(self, *, total: int | None = None, initial: int = 0, **looks: object) -> None:
        self.total, self.n = total, initial
        self.advance(initial)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, count: float | None = 1) -> None:
        self.n += int(count or 0)
        self.advance(int(count or 0))

    def update_transfer(self, count: float) -> None:
        """Bytes of the network: not counted twice. That the class has this method makes it the only bar."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Its speed."""

    def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None:
        """The network's speed."""

    def refresh(self) -> None:
        """Nothing is drawn here."""

    def close(self) -> None:
        """Nothing was opened."""
