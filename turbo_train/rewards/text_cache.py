"""How is a prompt's text encoded once, though it is scored many times?

Shape legend: N texts, D features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TEXTS_KEPT = 4096  # prompts whose features are kept; training captions would fill the memory without a bound


class TextCache:
    """Features of texts, computed once per prompt; the prompts used last are kept."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor], keep: int = TEXTS_KEPT) -> None:
        self._encode, self._keep = encode, keep
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of the texts, in their order."""
        if isinstance(texts, str) or not texts:
            raise ValueError(f"texts are {texts!r}; a sequence of at least one text is needed")
        known = {text: self._rows[text] for text in texts if text in self._rows}
        unknown = [text for text in dict.fromkeys(texts) if text not in known]
        if unknown:
            with torch.inference_mode(False), torch.no_grad():  # inference tensors could not meet autograd later
                known |= dict(zip(unknown, self._encode(unknown), strict=True))
        for text, row in known.items():
            self._rows[text] = row
            self._rows.move_to_end(text)
        while len(self._rows) > self._keep:
            self._rows.popitem(last=False)
        return torch.stack([known[text] for text in texts])

    def clear(self) -> None:
        """Forget everything, as after a change of weights, precision or device."""
        self._rows.clear()
