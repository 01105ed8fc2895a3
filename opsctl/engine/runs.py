"""Runs: a bound plan carried out, written down, and taken up again after a kill."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.actions.interface import DONE, GateAction, Kind, Outcome, StepResult
from opsctl.actions.person import weigh
from opsctl.engine.executors.interface import Before, Executor, Key
from opsctl.engine.journal_files import IN_AN_EMERGENCY
from opsctl.engine.perform import HoldLock, Notes, Performer, Registry
from opsctl.errors import OpsError, ProgramFailed, SafetyRefusal, worst
from opsctl.model.plan import BoundPlan, BoundStep
from opsctl.model.stages import courses
from opsctl.repositories.whole import write_whole

OnResult = Callable[[BoundStep, StepResult], None]


@dataclass
class Tally:
    """What a run came to. Results of single items are kept only where they tell something.

    ``partly``: a sentence for each step of which items failed, no more than it tolerates.
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    codes: dict[str, list[int]] = field(default_factory=dict)
    errors: list[OpsError] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)
    waiting: list[StepResult] = field(default_factory=list)
    partly: dict[str, str] = field(default_factory=dict)

    def add(self, step: BoundStep, result: StepResult, *, keep: bool = True) -> None:
        if self.waiting:
            self._waits_no_longer(result)
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        if keep or result.outcome != Outcome.OK:
            self.results.append(result)
        if result.outcome in (Outcome.WAITING, Outcome.UNKNOWN):
            self.waiting.append(result)
        if not step.may_fail and result.outcome not in (Outcome.SKIPPED, Outcome.WAITING, Outcome.UNKNOWN):
            found = self.codes.setdefault(step.id, [])
            code = worst(result.codes) if result.outcome == Outcome.FAILED else 0
            if code or 0 not in found:  # thousands that succeeded say no more than one
                found.append(code)
        if result.outcome == Outcome.FAILED:
            self.errors.extend(result.errors)

    def _waits_no_longer(self, result: StepResult) -> None:
        """Forget that this one waited: what came after it is how it stands."""
        for before in [one for one in self.waiting if (one.step, one.item) == (result.step, result.item)]:
            self.waiting.remove(before)
            self.results.remove(before)
            self.outcomes[before.outcome] -= 1
            if not self.outcomes[before.outcome]:
                del self.outcomes[before.outcome]

    def ended(self, plan: BoundPlan, steps: Mapping[str, str]) -> None:
        """Take in what whole steps came to."""
        for step in plan.steps:
            if steps.get(step.id) == Outcome.PARTLY:
                failed = sum(one.step == step.id and one.outcome == Outcome.FAILED for one in self.results)
                self.partly[step.id] = (f"step {step.id}: {failed} of {len(step.items)} failed, which it tolerates "
                                        f"({step.tolerate}); what comes after it went on")

    @property
    def exit_code(self) -> int:
        """The run's exit code: what its failed steps say; else 4 where a person has to say something."""
        found = (worst([*codes, 0] if step in self.partly else codes) for step, codes in self.codes.items())
        steps = [code for code in found if code]
        if steps:
            return steps[0] if len(set(steps)) == 1 else worst([*steps, 0])
        return 4 if self.waiting else 0


class Runs:
    """The runs of one state directory: ``runs/ID/plan.json`` and ``result.json``; the journal says the rest."""

    def __init__(self, state: Path, journal: Any, locks: Any, *, wait: float = 0) -> None:
        """``wait``: seconds that a step waits for a lock of somebody else."""
        self.directory = state / "runs"
        self.journal = journal
        self.locks = locks
        self.wait = wait

    def dry(self, plan: BoundPlan, world: Any, executor: Executor, registry: Registry, on_result: OnResult,
            *, resume: bool = False, repeat: Collection[str] = ()) -> Tally:
        """Say what would be done, of a run that is taken up again what is left; nothing is written, also no journal."""
        tally = Tally()
        found = self.before(plan, registry, world, repeat) if resume else Before()
        before = Before(dict.fromkeys(found.done, Outcome.OK), found.unknown)

        def took(step: BoundStep, result: StepResult) -> None:
            tally.add(step, result)
            on_result(step, result)

        tally.ended(plan, executor.execute(
            plan, Performer(world, _Nowhere(), registry, _no_lock, dry_run=True), before=before, on_result=took))
        return tally

    def start(self, plan: BoundPlan, world: Any, executor: Executor, registry: Registry, on_result: OnResult,
              *, patient: bool = False) -> Tally:
        """Carry out a new plan."""
        try:
            write_whole(self.directory / plan.run / "plan.json", json.dumps(plan.as_json(), indent=1).encode() + b"\n")
        except ProgramFailed as error:
            error.hint = "; ".join(filter(None, (error.hint, IN_AN_EMERGENCY)))
            raise
        self.journal.append("run.bound", {"playbook": plan.playbook, "started_by": plan.started_by,
                                          "inputs": dict(plan.inputs), "config": plan.config_digest,
                                          "plan": world.plan_digest()}, run=plan.run)
        return self._go(plan, world, executor, registry, on_result, Before(), patient)

    def resume(self, plan: BoundPlan, world: Any, executor: Executor, registry: Registry, on_result: OnResult,
               *, repeat: Collection[str] = (), patient: bool = False) -> Tally:
        """Go on with a run: what the journal calls done is not done again, about the rest the world is asked.

        Raises Busy (somebody else is at work on it), Refused (12: somebody is said to have said what nobody signed),
        SafetyRefusal (23: its plan was changed).
        """
        return self._go(plan, world, executor, registry, on_result, None, patient, repeat)

    def _go(self, plan: BoundPlan, world: Any, executor: Executor, registry: Registry, on_result: OnResult,
            before: Before | None, patient: bool, repeat: Collection[str] = ()) -> Tally:
        tally = Tally()
        many = sum(len(step.items) for step in plan.steps) > 1000
        with self.locks.hold(f"run-{plan.run}", run=plan.run, purpose=f"run of {plan.playbook}", wait=self.wait):
            if before is None:
                before = self.before(plan, registry, world, repeat)
                self.journal.append("run.resumed", {"done": len(before.done), "unknown": len(before.unknown)},
                                    run=plan.run)
                # What it came to is open again, also where this is killed.
                (self.directory / plan.run / "result.json").unlink(missing_ok=True)

            def took(step: BoundStep, result: StepResult) -> None:
                tally.add(step, result, keep=not many)
                on_result(step, result)

            performer = Performer(world, self.journal, registry, _holder(self.locks, plan.run, self.wait))
            try:
                tally.ended(plan, executor.execute(plan, performer, before=before, on_result=took, patient=patient))
            finally:
                self.journal.flush()
            self._end(plan, tally, world)
        return tally

    def _end(self, plan: BoundPlan, tally: Tally, world: Any) -> None:
        ended = not tally.waiting
        for sentence in tally.partly.values():
            world.warn(sentence)
        summary = {"exit_code": tally.exit_code, "outcomes": tally.outcomes, "ended": ended,
                   "waiting": [{"step": found.step, "item": found.item, "for": found.because}
                               for found in tally.waiting],
                   "errors": [error.as_dict() for error in tally.errors[:100]], "warnings": list(world.warnings)}
        if any(step.stage for step in plan.steps):
            summary["stages"] = [_plain(course.as_json()) for course in courses(list(self.journal.read(run=plan.run)))]
        self.journal.append("run.end" if ended else "run.waiting", summary, run=plan.run)
        write_whole(self.directory / plan.run / "result.json", json.dumps(summary, indent=1).encode() + b"\n")
        shutil.rmtree(self.directory / plan.run / "scratch", ignore_errors=True)

    def before(self, plan: BoundPlan, registry: Registry, world: Any, repeat: Collection[str] = ()) -> Before:
        """What the journal says of a run: the keys that are done, and the events that were begun and not ended.

        Of an event whose end is unknown a person may have said that it happened. That counts by its signature; Refused
        where it was not signed by whom it names, and nobody else has said so either. SafetyRefusal where the plan is
        another one than was bound.
        """
        done: dict[Key, str] = {}
        begun: dict[Key, list[Mapping[str, Any]]] = {}
        touched: set[str] = set()
        for entry in self.journal.read(run=plan.run):
            if entry.type == "run.bound" and entry.data["plan"] != world.plan_digest():
                raise SafetyRefusal(f"the plan of run {plan.run} was changed since it was bound", where=plan.run,
                                    hint="find out who changed it, and begin a new run")
            if entry.type == "step.begin" or (entry.type == "step.end" and entry.data["outcome"] in (*DONE, Outcome.FAILED)):
                touched.add(entry.data["step"])
            if entry.type == "step.begin":
                begun[(entry.data["step"], entry.data["item"])] = []
            elif entry.type == "step.end":
                key = (entry.data["step"], entry.data["item"])
                # Of what ended unknown nobody knows any more than before, however often it is asked.
                if entry.data["outcome"] != Outcome.UNKNOWN:
                    begun.pop(key, None)
                if entry.data["outcome"] in DONE:
                    done[key] = entry.data["outcome"]
                else:
                    done.pop(key, None)
            elif entry.type == "person.done":
                for key, records in begun.items():
                    if key[0] == entry.data["step"]:
                        records.append(entry.data)
        events = {step.id for step in plan.steps if registry(step.uses).kind is Kind.EVENT}
        unknown = set()
        for key, records in begun.items():
            if key[0] not in events or key[0] in repeat:
                continue
            if weigh(records, world, step=key[0]).counts():
                done[key] = Outcome.CHANGED
            else:
                unknown.add(key)
        again = _looked_at_again(plan, registry, done, touched)
        return Before({key: word for key, word in done.items() if key[0] not in again}, unknown)

    def all(self) -> Iterator[tuple[BoundPlan, Mapping[str, Any] | None, str]]:
        """Every run, newest first: its plan, its result, and ``ended waiting running interrupted``."""
        for path in sorted(self.directory.glob("*/plan.json"), key=_age, reverse=True):
            try:
                plan = BoundPlan.from_json(json.loads(path.read_text()))
            except (ValueError, KeyError, TypeError, OSError):
                continue
            yield plan, self.result(plan.run), self.standing(plan.run)

    def unended(self) -> Iterator[tuple[BoundPlan, Mapping[str, Any] | None, str]]:
        """As ``all``, without those that have ended, whose plans are not even read."""
        for path in sorted(self.directory.glob("*/plan.json"), key=_age, reverse=True):
            result = self.result(path.parent.name)
            word = self.standing(path.parent.name) if result is None or not result["ended"] else "ended"
            if word == "ended":
                continue
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                yield BoundPlan.from_json(json.loads(path.read_text())), result, word

    def result(self, run: str) -> Mapping[str, Any] | None:
        """What a run came to, or None where it did not come to an end."""
        try:
            return json.loads((self.directory / run / "result.json").read_text())
        except (OSError, ValueError):
            return None

    def standing(self, run: str) -> str:
        """``running``, ``waiting``, ``ended`` or ``interrupted``."""
        if self.locks.holder(f"run-{run}") is not None:
            return "running"
        found = self.result(run)
        if found is None:
            return "interrupted"
        return "ended" if found["ended"] else "waiting"


def _age(path: Path) -> tuple[str, int]:
    """Runs by the minute in their ids; those of one minute in the order in which they were bound."""
    return path.parent.name[:13], path.stat().st_mtime_ns


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in found.items()}


class _Nowhere:
    """The journal of a dry run."""

    def append(self, type: str, data: dict[str, Any], *, run: str | None = None, durable: bool = True) -> None:
        return None


def _no_lock(name: str, purpose: str) -> Any:
    raise AssertionError("a dry run takes no lock")


def _holder(locks: Any, run: str, wait: float) -> HoldLock:
    """Locks of one run: its own steps take turns, of others it says that they are at work."""
    turns: dict[str, threading.Lock] = {}
    guard = threading.Lock()

    @contextlib.contextmanager
    def hold(name: str, purpose: str) -> Iterator[None]:
        with guard:
            turn = turns.setdefault(name, threading.Lock())
        with turn, locks.hold(name, run=run, purpose=purpose, wait=wait):
            yield

    return hold


def _looked_at_again(plan: BoundPlan, registry: Registry, done: Collection[Key], touched: Collection[str]) -> set[str]:
    """Steps that a resume asks about although the journal calls them done.

    A check tells how it is now, so an earlier look never stands for it. What a state should be can depend on the
    steps before it; where one of these is done again, the state is looked at again. A gate that does not last is asked
    again until something that it opened was ``touched``: what was begun then has to be brought to its end.
    What is behind us in its stage is not looked at again.
    """
    kinds = {step.id: registry(step.uses).kind for step in plan.steps}
    touched = {*touched, *(step.id for step in plan.steps if _acted_on(step, registry, done))}
    behind_us = _behind_us(plan, registry, done, touched)
    again = {step.id for step in plan.steps if kinds[step.id] is Kind.CHECK} - behind_us
    for step in plan.steps:
        action = registry(step.uses)
        if step.id not in behind_us and isinstance(action, GateAction) and not action.lasting and not any(one.id in touched for one in plan.behind(step.id)):
            again.add(step.id)
    open_steps = again | {step.id for step in plan.steps if any((step.id, item.item) not in done for item in step.items)}
    while more := {step.id for step in plan.steps if kinds[step.id] is Kind.STATE and step.id not in again | behind_us
                   and open_steps.intersection(step.after)}:
        again |= more
        open_steps |= more
    return again


def _acted_on(step: BoundStep, registry: Registry, done: Collection[Key]) -> bool:
    action = registry(step.uses)
    return isinstance(action, GateAction) and action.acted and all((step.id, item.item) in done for item in step.items)


def _behind_us(plan: BoundPlan, registry: Registry, done: Collection[Key], touched: Collection[str]) -> set[str]:
    """The steps of stages that have ended well, and what stands in a stage before a gate behind which something was begun.

    A service that is back is used again: its data is not what it was restored as, and the clean room that it was proven in is gone.
    """
    found: set[str] = set()
    for stage in {step.stage for step in plan.steps}:
        steps = [step for step in plan.steps if step.stage == stage]
        away = [step for step in steps if registry(step.uses).puts_away]
        work = [step for step in steps if step not in away]
        for last in away:
            if last.id in touched or all((step.id, item.item) in done for step in work for item in step.items):
                found |= {step.id for step in plan.ahead(last.id) if step.stage == stage}
        if not stage:
            continue
        if all((step.id, item.item) in done or (step.may_fail and step.id in touched) for step in steps for item in step.items):
            found |= {step.id for step in steps}
            continue
        for gate in steps:
            if registry(gate.uses).kind is Kind.GATE and any(one.stage == stage and one.id in touched for one in plan.behind(gate.id)):
                found |= {step.id for step in steps if any(one.id == gate.id for one in plan.behind(step.id))}
    return found


__all__ = ["Notes", "Runs", "Tally"]
