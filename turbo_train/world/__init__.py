"""What is the embedded world? A procedural world of captioned clips, and small models trained on it."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"  # what `turbo-train world build` writes and the package ships
