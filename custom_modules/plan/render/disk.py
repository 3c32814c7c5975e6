"""What a run needs of disks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.plan.render.words import count, fact
from custom_modules.plan.teachers import lines as teacher_lines
from custom_modules.text import decimal_bytes

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan


def render_disk(plan: Plan) -> Iterator[str]:
    """Say how large checkpoints, datasets and teachers' rows are."""
    yield "Disk"
    yield fact("checkpoint", f"{decimal_bytes(plan.checkpoint_bytes)}: weights, fp32 optimizer state")
    yield fact(
        "run folder",
        f"{decimal_bytes((plan.checkpoints_kept + 1) * plan.checkpoint_bytes)} at most: "
        f"{count(plan.checkpoints_kept, 'checkpoint')} kept, and one while it is written",
    )
    dtype = "uint16" if plan.token_bytes == 2 else "int32"
    yield fact(
        "datasets",
        f"{decimal_bytes(plan.dataset_bytes)} if no token is read twice: {plan.token_bytes} bytes each ({dtype})",
    )
    for number, line in enumerate(teacher_lines(plan.teachers)):
        yield fact("" if number else "teachers", line)
