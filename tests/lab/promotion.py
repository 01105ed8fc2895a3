"""Single steps of a promotion for tests: done by the real engine, and struck down before a chosen change on the disk."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from opsctl.actions.interface import StepResult
from opsctl.actions.registry import action
from opsctl.engine.configuration import load_config
from opsctl.engine.perform import Performer
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep
from opsctl.wiring import Site, World
from tests.machine import Machine

NOW = datetime.fromisoformat("2026-12-20T14:02:00+05:30")
RUN = "20261220-0832-portal-abcd"
STAMP = "20261220-0832"


def perform(
    machine: Machine, uses: str, params: Mapping[str, Any], *, run: str = RUN, checks: Mapping[str, str] | None = None
) -> StepResult:
    """Do one step in a run whose steps ``prove`` and ``scan`` of the same set ended as ``checks`` says: both well, by default."""
    site = Site(load_config(machine.etc), clock=lambda: NOW, environ=machine.environ)
    before = {"prove": "ok", "scan": "ok"} if checks is None else dict(checks)
    about = {key: params[key] for key in ("backup", "set") if key in params}
    steps = [_step(word, about) for word in before] + [_step(uses, params)]
    plan = BoundPlan(run=run, playbook="test", title="test", now=NOW, started_by="tests", inputs={}, steps=tuple(steps))
    for word, outcome in before.items():
        site.journal.append("step.end", {"step": word, "item": None, "outcome": outcome}, run=run)
    performer = Performer(World(site, plan), site.journal, action, lambda name, why: site.locks.hold(name, run=run, purpose=why))
    return performer(steps[-1], steps[-1].items[0])


def _step(uses: str, params: Mapping[str, Any]) -> BoundStep:
    return BoundStep(id=uses, uses=uses, title=uses, after=(), items=(BoundItem(None, params),))


#: What Python tells of beforehand that changes a disk, or another program's state.
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "subprocess.Popen", "renameat2")
#: Of these the renames that change what is in production.
RENAMES = ("renameat2",)


def struck_before(number: int, work: Callable[[], object], changes: Collection[str] = CHANGES) -> bool:
    """Do the work in a process of its own that is killed by SIGKILL before its change of this number (from 1).

    Whether it was killed; it was not where it makes fewer changes.
    """
    child = os.fork()
    if not child:
        seen = 0

        def look(event: str, words: tuple[Any, ...]) -> None:
            nonlocal seen
            if (words[1] if event == "ctypes.dlsym" else event) in changes:
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(look)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
