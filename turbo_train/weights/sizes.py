"""How is a number of bytes said to a person?"""

from __future__ import annotations


def readable(size_bytes: float) -> str:
    """`3.4 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
