"""Which networks does VBench score with, and are their published weights on this machine? weights.lock knows the files.

Each network is one object for all dimensions that use it, opened when the first clip needs it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from turbo_eval.scorers.vbench.encoders.backbone import MODE, Backbone, Mode
from turbo_eval.screen import say
from turbo_train.weights.check import altered
from turbo_train.weights.hashes import takes_long
from turbo_train.weights.missing import require
from turbo_train.weights.places import locate
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import files_for, find_file

if TYPE_CHECKING:
    from turbo_eval.scorers.vbench.encoders.aesthetic import LaionAesthetic
    from turbo_eval.scorers.vbench.encoders.amt import Amt
    from turbo_eval.scorers.vbench.encoders.clip import ClipB32
    from turbo_eval.scorers.vbench.encoders.dino import Dino
    from turbo_eval.scorers.vbench.encoders.grit.detector import Grit
    from turbo_eval.scorers.vbench.encoders.musiq import Musiq
    from turbo_eval.scorers.vbench.encoders.raft import Raft
    from turbo_eval.scorers.vbench.encoders.tag2text.captioner import Tag2Text
    from turbo_eval.scorers.vbench.encoders.umt import Umt
    from turbo_eval.scorers.vbench.encoders.viclip import ViClip

B = TypeVar("B", bound=Backbone)
SHIPPED = ("viclip/bpe_simple_vocab_16e6.txt.gz",)  # open_clip holds the same bytes; nobody ships BERT's vocabulary


class Networks:
    """VBench's networks, each one object."""

    def __init__(self, mode: Mode = MODE) -> None:
        self.mode = mode

    def why_not(self, dimension: str) -> str:
        """Why a dimension cannot be scored here; "" where it can."""
        if any(locate(file) is None for file in files_for(dimension) if file.name not in SHIPPED):
            return f"weights missing: turbo-eval weights pull --for {dimension}"
        return ""

    def _open(self, kind: type[B]) -> B:
        rows = [find_file(name) for name in kind.FILES]
        files = {row: path for row in rows if (path := locate(row)) is not None}
        if len(files) < len(rows):
            require(rows, kind.NAME)
        for path in files.values():
            if takes_long(path):
                say(f"reading {path} once for its sha256 ({readable(path.stat().st_size)})")
        for name in altered(rows):
            say(f"{kind.NAME}: {name} is not the published file (its sha256 is another; turbo-eval weights verify)")
        return kind(files, self.mode)

    @cached_property
    def subject(self) -> Dino:
        """DINO ViT-B/16."""
        from turbo_eval.scorers.vbench.encoders.dino import Dino

        return self._open(Dino)

    @cached_property
    def background(self) -> ClipB32:
        """CLIP ViT-B/32."""
        from turbo_eval.scorers.vbench.encoders.clip import ClipB32

        return self._open(ClipB32)

    @property
    def style(self) -> ClipB32:
        """The same network."""
        return self.background

    @cached_property
    def aesthetic(self) -> LaionAesthetic:
        """CLIP ViT-L/14 and LAION's head."""
        from turbo_eval.scorers.vbench.encoders.aesthetic import LaionAesthetic

        return self._open(LaionAesthetic)

    @cached_property
    def imaging(self) -> Musiq:
        """MUSIQ."""
        from turbo_eval.scorers.vbench.encoders.musiq import Musiq

        return self._open(Musiq)

    @cached_property
    def interpolator(self) -> Amt:
        """AMT-S."""
        from turbo_eval.scorers.vbench.encoders.amt import Amt

        return self._open(Amt)

    @cached_property
    def flow(self) -> Raft:
        """RAFT."""
        from turbo_eval.scorers.vbench.encoders.raft import Raft

        return self._open(Raft)

    @cached_property
    def video(self) -> ViClip:
        """ViCLIP."""
        from turbo_eval.scorers.vbench.encoders.viclip import ViClip

        return self._open(ViClip)

    @cached_property
    def actions(self) -> Umt:
        """UMT ViT-L/16."""
        from turbo_eval.scorers.vbench.encoders.umt import Umt

        return self._open(Umt)

    @cached_property
    def objects(self) -> Grit:
        """GRiT-B."""
        from turbo_eval.scorers.vbench.encoders.grit.detector import Grit

        return self._open(Grit)

    @cached_property
    def captioner(self) -> Tag2Text:
        """Tag2Text on Swin-B."""
        from turbo_eval.scorers.vbench.encoders.tag2text.captioner import Tag2Text

        return self._open(Tag2Text)
