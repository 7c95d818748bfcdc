"""What does a prompt bring besides its text? VBench's auxiliary information: a style, a colour, two objects.

The standard suite's attributes are named as VBench_full_info.json nests them (turbo_eval/vbench_suite.py):
`appearance_style.appearance_style`, `multiple_objects.object`, `scene.scene.scene`, `spatial_relationship.
spatial_relationship.object_a`. A prompt of one's own may bring the last name alone: `appearance_style`, `object_a`.
"""

from __future__ import annotations

from turbo_eval.records import Prompt
from turbo_train.errors import UserError


def auxiliary(prompt: Prompt, dimension: str, name: str) -> str:
    """The value of `name` for a dimension. UserError, which makes the clip unscored: none, or an empty one."""
    for key in (f"{dimension}.{dimension}.{name}", f"{dimension}.{name}", name):
        if value := prompt.attributes.get(key, "").strip():
            return value
    raise UserError(
        found=f"no auxiliary info {name!r} for {dimension}",
        expected=f"an attribute {dimension}.{name} of the prompt",
        run_next="add it to the suite",
    )
