"""Does a state dict hold exactly the weights that a network wants? Names and shapes, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import remedy


def check_layout(
    state: Mapping[str, Tensor],
    want: Mapping[str, torch.Size],
    where: Path | str,
    expected: str,
    run_next: str = "",
) -> None:
    """UserError that lists what is missing, unknown or of another shape. expected: which weights these should be.

    run_next: by default what `remedy` says of the file.
    """
    wrong = [f"missing {key}" for key in want if key not in state]
    wrong += [f"unknown {key}" for key in state if key not in want]
    wrong += [
        f"{key} of shape {tuple(state[key].shape)}, not {tuple(shape)}"
        for key, shape in want.items()
        if key in state and state[key].shape != shape
    ]
    if wrong:
        more = ", ..." if len(wrong) > 3 else ""
        raise UserError(
            found=f"{len(wrong)} keys of {where} differ from the {len(want)} expected: {', '.join(wrong[:3])}{more}",
            expected=expected,
            run_next=run_next or remedy(Path(where)),
        )
