"""Single steps of a promotion for tests: done by the real engine, and struck down before a chosen change on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from opsctl.actions.interface import StepResult
from opsctl.actions.registry import action
from opsctl.engine.configuration import load_config
from opsctl.engine.perform import Performer
from opsctl.model.approvals import APPROVE, NAMESPACE, request, statement
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep
from opsctl.model.statements import signed_bytes
from opsctl.shells.signing import Signer
from opsctl.wiring import Site, World
from tests.machine import Machine

NOW = datetime.fromisoformat("2026-12-20T14:02:00+05:30")
RUN = "20261220-0832-portal-abcd"
STAMP = "20261220-0832"
PEOPLE = ("asha", "imran")


def perform(
    machine: Machine, uses: str, params: Mapping[str, Any], *, run: str = RUN, checks: Mapping[str, str] | None = None
) -> StepResult:
    """Do one step in a run whose steps ``prove`` and ``scan`` of the same set ended as ``checks`` says: both well, by default.

    Two people have signed for it.
    """
    keys = _people(machine)
    site = Site(load_config(machine.etc), clock=lambda: NOW, environ=machine.environ)
    before = {"prove": "ok", "scan": "ok"} if checks is None else dict(checks)
    about = {key: params[key] for key in ("backup", "set") if key in params}
    named = {"sources": [params["source"]]} if "source" in params else {}
    gate, act = _step("approve", {"step": "approve"}), _step(uses, {**params, **({"step": uses} if uses == "promote" else {})})
    steps = [*(_step(word, {**about, **named}) for word in before), gate, replace(act, after=("approve",))]
    plan = BoundPlan(run=run, playbook="test", title="test", now=NOW, started_by="tests", inputs={}, steps=tuple(steps))
    for word, outcome in before.items():
        site.journal.append("step.end", {"step": word, "item": None, "outcome": outcome}, run=run)
    world = World(site, plan)
    _approve(world, keys)
    performer = Performer(world, site.journal, action, lambda name, why: site.locks.hold(name, run=run, purpose=why))
    return performer(steps[-1], steps[-1].items[0])


def _people(machine: Machine) -> Path:
    """Asha and Imran among the people of a machine; where their keys lie."""
    keys, file = machine.root / "people", machine.etc / "people.yaml"
    if not file.exists():
        keys.mkdir(exist_ok=True)
        for name in PEOPLE:
            (keys / name).unlink(missing_ok=True)  # of a process that was struck down
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True, stdin=subprocess.DEVNULL)
        file.write_text("people:\n" + "".join(f"  {name}: {{name: {name}, ssh_key: {(keys / f'{name}.pub').read_text().strip()}}}\n" for name in PEOPLE))
    return keys


def _approve(world: World, keys: Path) -> None:
    """Ask for what the plan's gate asks for, and sign it, both of them, once for each plan."""
    asked = request(run=world.run, step="approve", plan_sha256=world.plan_digest(), incident="", repository="", nonce="0" * 32, now=NOW,
                    term=timedelta(days=1))
    known = [data["request"] for _, data in world.entries(("approve.asked",))]
    if known[-1:] == [asked]:
        return
    signed = []
    for name in PEOPLE:
        said = statement(asked, by=name, decision=APPROVE, note="", now=NOW)
        signed.append((said, Signer(keys / name, world.shell).sign(signed_bytes(said), NAMESPACE)))
    for said, signature in signed:
        world.note("approve.signed", {"step": "approve", "item": None, "statement": said, "signature": signature})
    world.note("approve.asked", {"step": "approve", "request": asked})


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
