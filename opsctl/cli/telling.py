"""What the run of a packaged playbook came to, in the words of the command that it belongs to; for a run taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from opsctl.cli.report import Out

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan

Writer = Callable[[Out, "Tally", "BoundPlan"], None]


def write_resumed(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was done before the run was taken up again, and then how the rest ended."""
    from opsctl.engine.executors.interface import DONE_BEFORE

    before = [f"{one.step} {one.item}" if one.item else one.step for one in tally.results if one.because == DONE_BEFORE]
    if before:
        out.line(f"done before: {', '.join(before)}")
    rest = replace(tally, results=[one for one in tally.results if one.because != DONE_BEFORE])
    if rest.results:
        _writer(plan.playbook)(out, rest, plan)
    else:
        out.line("nothing was left to do")


def _writer(playbook: str) -> Writer:
    from opsctl.cli import (
        backup,
        copies,
        freezing,
        isolate_more,
        isolate_release,
        isolate_text,
        production,
        prune,
        restore,
        rewind,
        rooms,
        verify,
        work,
    )

    known: dict[str, Writer] = {
        "backup": backup.write_run, "backup-copy": copies.write_copies, "verify": verify.write, "drill": verify.write_drill,
        "restore-files": restore.write_files, "restore-set": restore.write_set, "rewind": rewind.write,
        "promote": production.write_resumed, "restore-room": rooms.write_room, "restore-clear": rooms.write_cleared,
        "freeze": freezing.write, "prune": prune.write, "thaw": freezing.write,
        "isolate": isolate_text.write, "release": isolate_release.write, "confirm": isolate_more.write,
        "extend": isolate_more.write, "rehearse": isolate_more.write,
    }
    return known.get(playbook, lambda out, tally, plan: work.write_steps(out, tally.results))
