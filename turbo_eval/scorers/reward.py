"""How does a reward model score a clip? cosine(frames, prompt), as in training, without gradients.

An image reward: the mean over every frame. A video reward: evenly spread frames (turbo_train/rewards/frames.py); a clip
with fewer is unscored, unless its last frame may be repeated. The network is loaded when the first clip needs it.

A clip's score depends on nothing but the clip, its prompt, the scorer and the machine: its frames are forward passes
of their own (`rows` at a time), its prompt is encoded alone. So a resumed run, another --limit and any number of
workers give the same bytes. Measured (CPU, one and two threads, reports/LOG.md): four clips in one pass change the last
bit of the world's video towers; a full-width ViT-H takes as long for four clips in a pass as for one after the other.
Out of memory, `relieve` halves the rows of a pass, which may change the last bits from there on; the run records it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from turbo_eval.scorers.base import Clip, Features, Score, with_versions
from turbo_eval.scorers.registry import Scorers
from turbo_eval.scorers.reward_choice import choose_rewards, left_out_line
from turbo_eval.screen import say
from turbo_train.errors import UserError
from turbo_train.rewards.frames import spread
from turbo_train.rewards.table import RewardEntry, load_reward
from turbo_train.weights.check import altered
from turbo_train.weights.hashes import takes_long
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import files_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turbo_train.rewards.base import RewardModel

FORMULA = 1  # raise it when what is computed here changes
FLOAT32 = "float32"
PACKAGES = ("torch", "open_clip_torch", "transformers")
CUT = r"\d+ prompts? cut at"  # how turbo_train.rewards.base.cut_message begins


class RewardScorer:
    """One reward model of the table. texts: every prompt of the suite, for one warning on those that are cut.

    dtype: of the network's weights and products. Its id names the formula, the weights, the frames and where and how it
    computes: scores that may differ by more than chance are never mixed.
    """

    def __init__(
        self,
        entry: RewardEntry,
        texts: Sequence[str] = (),
        *,
        device: str = "cpu",
        dtype: str = FLOAT32,
        repeat_last: bool = False,
    ) -> None:
        self.entry = entry
        self.metric = entry.name
        self.device, self.dtype, self.repeat_last = device, dtype, repeat_last
        self.scorer_id = with_versions(_id(entry, device, dtype, repeat_last), *PACKAGES)
        self._texts = texts
        self._model: RewardModel | None = None
        self._most_frames = 1

    def load(self) -> None:
        """Load the network and say which prompts it does not read to their end. UserError: its files are not right."""
        if self._model is None:
            import torch

            from turbo_train.rewards.base import cut_message

            self._model = load_reward(self.metric, device=self.device, dtype=getattr(torch, self.dtype))
            if cut := self._model.too_long(self._texts):
                say(f"warning: {self.metric}: {cut_message(cut, self._model.tokenizer.length)}")

    def relieve(self) -> str:
        """Halve the frames of a forward pass of an image reward; a video reward's pass is one clip already."""
        rows = 1 if self._model is None else min(self._model.rows, self._most_frames)
        if self._model is None or rows < 2:
            return ""
        self._model.rows = rows // 2
        return f"{self.metric} looks at {self._model.rows} frames at a time"

    def score(self, clip: Clip, features: Features) -> Score:
        """In [-1, 1]. UserError: too few frames, or a result that is not finite (a dtype that is too small)."""
        import torch

        frames_TCHW = self._seen(features.frames_TCHW)
        self.load()
        assert self._model is not None
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", CUT)  # said once, when the network was loaded
            clip_BTCHW = torch.from_numpy(frames_TCHW)[None].to(self.device)
            value = float(self._model.score_clips(clip_BTCHW, [clip.prompt.prompt])[0])
        if not math.isfinite(value):
            raise UserError(found=f"{value} in {self.dtype}", expected="a finite score")
        return Score.of(value)

    def _seen(self, frames_TCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """The frames that are looked at. UserError: too few."""
        if self.entry.frames is None:
            self._most_frames = max(self._most_frames, len(frames_TCHW))
            return frames_TCHW
        try:
            return frames_TCHW[spread(len(frames_TCHW), self.entry.frames, repeat_last=self.repeat_last)]
        except UserError as error:
            raise UserError(found=error.found, expected=f"{error.expected}, or {error.run_next}") from error


def _id(entry: RewardEntry, device: str, dtype: str, repeat_last: bool) -> str:
    rule = "every-frame" if entry.frames is None else f"spread-{entry.frames}"
    kind = device.partition(":")[0]  # convolutions of a GPU may be TF32
    parts = [rule, *(["repeat-last"] if repeat_last and entry.frames else [])]
    parts += [part for part, usual in ((dtype, FLOAT32), (kind, "cpu")) if part != usual]
    return f"reward/{entry.name}@{FORMULA}-{entry.weights_sha256()[:8]}-{'-'.join(parts)}"


def reward_scorers(
    names: Sequence[str], texts: Sequence[str], *, device: str, dtype: str = FLOAT32, repeat_last: bool = False
) -> Scorers:
    """The scorers of the named rewards, or of all that can score these prompts; of the others why not.

    Says on stderr which were left out. UserError: reward_choice.choose_rewards.
    """
    chosen = choose_rewards(names, texts)
    if chosen.left_out:
        say(left_out_line(chosen.left_out))
    scorers = []
    for entry in chosen.entries:
        for path in entry.files().values():
            if takes_long(path):
                say(f"reading {path} once for its sha256 ({readable(path.stat().st_size)})")
        for name in altered(files_for(entry.name)) if entry.place is None else ():
            say(f"{entry.name}: {name} is not the published file (its sha256 is another; turbo-eval weights verify)")
        scorers.append(RewardScorer(entry, texts, device=device, dtype=dtype, repeat_last=repeat_last))
    return Scorers(list(scorers), dict(chosen.left_out))
