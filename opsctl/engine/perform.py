"""How one step is done: observe, plan, write down, apply, write down, observe again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opsctl.actions.interface import (
    Action,
    Change,
    CheckAction,
    EventAction,
    GateAction,
    Outcome,
    Params,
    StateAction,
    StepResult,
    World,
)
from opsctl.errors import Busy, Interrupted, NotConverged, OpsError, Unreachable
from opsctl.model.plan import BoundItem, BoundStep
from opsctl.repositories.whole import system_said_no


class Notes(Protocol):
    """The journal as the engine needs it: ``durable`` returns only when the line is on disk."""

    def append(self, type: str, data: dict[str, Any], *, run: str | None = None, durable: bool = True) -> Any: ...


Registry = Callable[[str], Action]
_PAUSE = 3.0  # seconds between two tries of what did not answer
_TURN = 0.5   # seconds after which a stop is noticed meanwhile
HoldLock = Callable[[str, str], contextlib.AbstractContextManager[Any]]


class Performer:
    """Does single steps of one run in one world. Knows nothing of the graph."""

    def __init__(
        self, world: World, notes: Notes, registry: Callable[[str], Action], hold: HoldLock, *, dry_run: bool = False
    ) -> None:
        self.world = world
        self.notes = notes
        self.registry = registry
        self.hold = hold
        self.dry_run = dry_run
        self._waits: dict[tuple[str, str | None], str] = {}

    def __call__(self, step: BoundStep, item: BoundItem, *, unknown: bool = False) -> StepResult:
        """Do one step for one item; every OpsError, and every no of the operating system, becomes a failed result.

        Raises Interrupted, and bugs; a bug that one of several items met is that item's failure (1).

        ``unknown``: an earlier run began this event and nobody knows how it ended.
        """
        try:
            action = self.registry(step.uses)
            params = action.Params.model_validate(dict(item.params))
            with self._locks(action, params, step):
                try:
                    result = self._patiently(action, params, step, item, unknown)
                finally:
                    action.let_go(params, self.world)
        except Interrupted:
            raise
        except _NothingToDo as nothing:
            result = StepResult(step.id, item.item, Outcome.SKIPPED, str(nothing))
        except (OpsError, OSError) as raised:
            error = _ours(raised)
            result = _failed(step, item, [error], because=error.message)
        except Exception as raised:
            if len(step.items) == 1:
                raise
            # The others of hundreds do not wait for one that met a bug of ours, which a host may have provoked.
            error = self._bug(raised, item)
            result = _failed(step, item, [error], because=error.message)
        self._end(step, result)
        return result

    def _bug(self, raised: Exception, item: BoundItem) -> OpsError:
        from traceback import format_exception

        summary = f"{type(raised).__name__} at {item.item}"
        self.notes.append("bug", {"summary": summary, "trace": "".join(format_exception(raised))}, run=self.world.run)
        return OpsError(f"a bug: {summary}; the trace is in the journal", where=item.item)

    def _locks(self, action: Action, params: Params, step: BoundStep) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        if self.dry_run:
            return stack
        try:
            for name in sorted({*action.locks(params), *action.locks_there(params, self.world)}):
                stack.enter_context(self.hold(name, f"step {step.id}"))
        except Busy as busy:
            stack.close()
            if action.skip_when_busy(params):
                raise _NothingToDo(busy.message) from busy
            raise
        except BaseException:
            stack.close()
            raise
        return stack

    def _patiently(
        self, action: Action, params: Params, step: BoundStep, item: BoundItem, unknown: bool
    ) -> StepResult:
        """Do it, and where it met nothing but silence do it again, as long as the action has patience."""
        seconds = 0.0 if self.dry_run else action.patience(params)
        until = time.monotonic() + seconds
        told = False
        while True:
            try:
                result = self._dispatch(action, params, step, item, unknown)
            except Unreachable as error:
                if not seconds:
                    raise
                result = _failed(step, item, [error], because=error.message)
            silent = [error for error in result.errors if isinstance(error, Unreachable)]
            if not seconds or not silent or len(silent) < len(result.errors) or time.monotonic() >= until:
                return result
            if not told:
                told = True
                self.world.tell(f"{item.item or step.id}: {silent[0].message}; tried again for {seconds:g} s")
                self._note("step.again", step, item, {"errors": [error.as_dict() for error in silent], "seconds": seconds},
                           durable=False)
            self._pause(min(_PAUSE, until - time.monotonic()))

    def _pause(self, seconds: float) -> None:
        """Wait, and end the wait with the run."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.world.shell.check()
            time.sleep(min(left, _TURN))

    def _dispatch(
        self, action: Action, params: Params, step: BoundStep, item: BoundItem, unknown: bool
    ) -> StepResult:
        if isinstance(action, StateAction):
            return self._state(action, params, step, item)
        if isinstance(action, CheckAction):
            return self._check(action, params, step, item)
        if isinstance(action, GateAction):
            return self._gate(action, params, step, item)
        if isinstance(action, EventAction):
            return self._event(action, params, step, item, unknown)
        raise TypeError(f"{action.word} is of no kind that the engine knows")

    def _state(self, action: StateAction, params: Params, step: BoundStep, item: BoundItem) -> StepResult:
        seen = action.observe(params, self.world)
        changes = action.plan(params, seen)
        if not changes:
            return StepResult(step.id, item.item, Outcome.OK, "already as wanted", result=action.result(params, seen))
        texts = tuple(change.text for change in changes)
        if self.dry_run:
            return StepResult(step.id, item.item, Outcome.PLANNED, f"{len(changes)} to do", changes=texts,
                              result=action.result(params, seen))
        # Not flushed by itself: the first change.begin follows and brings it to the disk, before anything happens.
        self._note("step.begin", step, item, {"uses": step.uses, "params": dict(item.params), "changes": texts},
                   durable=False)
        as_wanted = [0] * (action.asked(params, seen) - len(changes))
        errors, codes = self._apply(action, params, step, item, changes, as_wanted)
        try:
            seen = action.observe(params, self.world)
        except (OpsError, OSError) as raised:
            # What went wrong first says more than what it leads to.
            if not errors or isinstance(raised, Interrupted):
                raise
            found = [*errors, _ours(raised)]
            return _failed(step, item, found, because="; ".join(error.message for error in found))
        left = action.plan(params, seen)
        result = action.result(params, seen)
        if not left:
            because = "; ".join(error.message for error in errors) or "done, and a second look found it so"
            return StepResult(step.id, item.item, Outcome.CHANGED, because, changes=texts, result=result)
        if not errors:
            errors = [NotConverged(action.missing(params, seen, left), where=item.item)]
            codes = [NotConverged.code]
        return StepResult(step.id, item.item, Outcome.FAILED, "; ".join(error.message for error in errors),
                          codes=tuple(codes), errors=tuple(errors), changes=texts, result=result)

    def _apply(
        self, action: StateAction, params: Params, step: BoundStep, item: BoundItem, changes: Sequence[Change],
        as_wanted: Sequence[int],
    ) -> tuple[list[OpsError], list[int]]:
        """What failed, and one code for each thing asked for: those ``as_wanted`` already, and the changes."""
        errors: list[OpsError] = []
        codes = list(as_wanted)
        undone: set[str] = set()
        for change in changes:
            if undone.intersection(change.after):
                undone.add(change.key)
                self._note("change.skipped", step, item, {"change": change.key}, durable=False)
                continue
            self._note("change.begin", step, item, {"change": change.key, "text": change.text})
            try:
                action.apply(params, change, self.world)
            except Interrupted:
                raise
            except (OpsError, OSError) as raised:
                error = _ours(raised)
                undone.add(change.key)
                errors.append(error)
                codes = [error.code] if change.commit else [*codes, error.code]
                self._note("change.failed", step, item, {"change": change.key, "error": error.as_dict()})
            else:
                codes.append(0)
                # What begins next brings it to the disk.
                self._note("change.done", step, item, {"change": change.key}, durable=change is changes[-1])
        return errors, codes

    def _check(self, action: CheckAction, params: Params, step: BoundStep, item: BoundItem) -> StepResult:
        if self.dry_run:
            return StepResult(step.id, item.item, Outcome.PLANNED, "would look", changes=(f"look: {step.title}",))
        seen = action.observe(params, self.world)
        errors = tuple(action.findings(params, seen))
        result = action.result(params, seen)
        if errors:
            return StepResult(step.id, item.item, Outcome.FAILED, errors[0].message, result=result,
                              codes=tuple(error.code for error in errors), errors=errors)
        return StepResult(step.id, item.item, Outcome.OK, "nothing found", result=result)

    def _gate(self, action: GateAction, params: Params, step: BoundStep, item: BoundItem) -> StepResult:
        seen = action.observe(params, self.world)
        waits_for = action.waits_for(params, seen)
        result = action.result(params, seen)
        if self.dry_run and waits_for:
            return StepResult(step.id, item.item, Outcome.PLANNED, "would wait for a person",
                              changes=(f"wait: {step.title}",), result=result)
        if waits_for:
            action.ask(params, seen, self.world)
            return StepResult(step.id, item.item, Outcome.WAITING, waits_for, codes=(4,), result=result)
        return StepResult(step.id, item.item, Outcome.OK, "said and signed", result=result)

    def _event(
        self, action: EventAction, params: Params, step: BoundStep, item: BoundItem, unknown: bool
    ) -> StepResult:
        if unknown and step.on_unknown != "repeat":
            because = (f"it was begun and nobody wrote down how it ended; `opsctl done {self.world.run} {step.id}` "
                       f"if it did happen, `opsctl resume {self.world.run} --repeat {step.id}` to do it again")
            if self.dry_run:
                return StepResult(step.id, item.item, Outcome.PLANNED, because, changes=(f"ask about {step.title}: {because}",))
            return StepResult(step.id, item.item, Outcome.UNKNOWN, because, codes=(4,))
        if self.dry_run:
            return StepResult(step.id, item.item, Outcome.PLANNED, "would happen once",
                              changes=(f"once: {step.title}",))
        self._note("step.begin", step, item, {"uses": step.uses, "params": dict(item.params)})
        result = action.happen(params, self.world)
        return StepResult(step.id, item.item, Outcome.CHANGED, "happened", result=result)

    def _note(
        self, type: str, step: BoundStep, item: BoundItem, data: dict[str, Any], *, durable: bool = True
    ) -> None:
        self.notes.append(type, {"step": step.id, "item": item.item, **_plain(data)}, run=self.world.run,
                          durable=durable)

    def _end(self, step: BoundStep, result: StepResult) -> None:
        if self.dry_run:
            return
        if result.outcome == Outcome.WAITING:
            # It is asked again every few seconds, perhaps for days.
            if self._waits.get((step.id, result.item)) == result.because:
                return
            self._waits[step.id, result.item] = result.because
        data: dict[str, Any] = {"step": step.id, "item": result.item, "outcome": result.outcome,
                                "because": result.because, "codes": list(result.codes)}
        if result.errors:
            data["errors"] = [error.as_dict() for error in result.errors]
        if result.result:
            data["result"] = _plain(dict(result.result))
        # What a no-op found is found again by looking; only what was changed must not be lost.
        self.notes.append("step.end", data, run=self.world.run, durable=result.outcome != Outcome.OK)


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}


def _ours(raised: OpsError | OSError) -> OpsError:
    if isinstance(raised, OpsError):
        return raised
    error = system_said_no(raised)
    error.__cause__ = raised
    return error


def _failed(step: BoundStep, item: BoundItem, errors: Sequence[OpsError], *, because: str) -> StepResult:
    return StepResult(step.id, item.item, Outcome.FAILED, because, codes=tuple(error.code for error in errors),
                      errors=tuple(errors))


class _NothingToDo(Exception):
    """Somebody else is doing just this."""
