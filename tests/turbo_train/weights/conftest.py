"""What do these tests share? A home of its own, rows of their own, and a server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CACHES = ("TURBO_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: nothing that this machine holds is found, nothing is written to it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / ".cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for variable in CACHES:
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def weights_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that TURBO_WEIGHTS names."""
    folder = tmp_path / "weights"
    monkeypatch.setenv("TURBO_WEIGHTS", str(folder))
    return folder


@dataclass
class Served:
    """What a server hands out. cuts: after how many bytes each of the next answers breaks off."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    delay_s: float = 0.0

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


@pytest.fixture
def served() -> Iterator[Served]:
    """A server that understands ranges, as the real ones do, and the hub's headers."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path, wanted = self.path.split("?")[0], self.headers.get("Range")
            content, status = state.files.get(path), state.statuses.get(path, 200)
            if body:
                state.ranges.append(wanted)
                time.sleep(state.delay_s)
            if content is None or status != 200:
                self.send_response(404 if status == 200 else status)
                self.send_header("Content-Length", "0")
                self.send_header("X-Error-Code", "GatedRepo" if status == 403 else "EntryNotFound")
                self.end_headers()
                return
            tag, first = state.tags.get(path, '"one"'), 0
            if wanted and self.headers.get("If-Range") in (tag, None):
                first = int(wanted.removeprefix("bytes=").split("-")[0])
            if first >= len(content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - first))
            if tag:
                self.send_header("ETag", tag)
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if body:
                kept = content[first:]
                if state.cuts:
                    kept = kept[: state.cuts.pop(0)]
                    self.close_connection = True
                with suppress(ConnectionError):
                    self.wfile.write(kept)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
