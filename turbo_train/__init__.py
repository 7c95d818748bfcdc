"""How is a few-step text-to-video student made and run? The method and the models (T2V-Turbo, arXiv 2405.18750)."""

from __future__ import annotations

__version__ = "0.1.0"
