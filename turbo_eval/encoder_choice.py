"""By which networks are VBench's dimensions scored? As asked, else by those that fit the prompts' words."""

from __future__ import annotations

from turbo_eval.contestants import Request
from turbo_eval.prompt_suite import Suite
from turbo_eval.scorers.registry import EMBEDDED, PROFILES, VBENCH, Scorers, build_scorers
from turbo_eval.scorers.reward_choice import unknown_words
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode
from turbo_eval.scorers.vbench.spec import unknown_name
from turbo_eval.screen import say
from turbo_eval.static_clips import is_filtered
from turbo_train.errors import UserError
from turbo_train.rewards.table import find_reward

WORLD_JUDGE = "world-image-judge"


def encoders_of(request: Request, suite: Suite) -> str:
    """The profile of encoders: as asked, else `embedded` where the world's judges know every word of the prompts.

    UserError: an unknown one, or options of VBench's networks where these compute nothing.
    """
    profile = request.encoders
    if profile is None:
        judge = find_reward(WORLD_JUDGE)
        texts = [prompt.prompt for prompt in suite.prompts]
        profile = VBENCH if judge.missing() or unknown_words(judge, texts) else EMBEDDED
    if profile not in PROFILES:
        raise unknown_name("encoders", profile, PROFILES)
    mode = Mode(precision=request.precision, compat=request.compat)
    asked = [*mode.labels, *(["--strict-rules"] if request.strict_rules else [])]
    if profile != VBENCH and asked:
        raise UserError(
            found=f"{', '.join(asked)} for the embedded world's judges, which know every word of these prompts"
            if request.encoders is None
            else f"{', '.join(asked)} with --encoders {profile}",
            expected=f"--precision, --compat and --strict-rules with VBench's networks (--encoders {VBENCH})",
            run_next=f"leave them out, or --encoders {VBENCH}",
        )
    return profile


def dimension_scorers(request: Request, suite: Suite, profile: str, device: str) -> Scorers:
    """Scorers of VBench's dimensions and the oracle's metrics that were asked for, and why others are not scored."""
    if profile == VBENCH and request.encoders is None:
        say("scored by VBench's networks: the embedded world's judges do not know the words of these prompts")
    mode = Mode(device, request.precision, request.compat) if profile == VBENCH else MODE
    return build_scorers(
        profile,
        request.dimensions or None,
        mode=mode,
        static_filter=is_filtered(suite),
        strict_rules=request.strict_rules,
    )
