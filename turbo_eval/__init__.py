"""What is a text-to-video model worth? Generate, score, time, compare and report."""

from __future__ import annotations

from turbo_train import __version__

__all__ = ["__version__"]
