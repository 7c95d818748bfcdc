"""In which ways may frames become a model's square? The names alone, for tables that load no torch."""

from typing import Literal, get_args

Mode = Literal["squash", "shortest", "longest"]
MODES: tuple[Mode, ...] = get_args(Mode)
Crop = Literal["centre", "random"]  # what is kept of a long side; the other two modes crop nothing
CROPS: tuple[Crop, ...] = get_args(Crop)
