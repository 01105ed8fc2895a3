"""The contract of every executor; an executor's own file says only how to make one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from opsctl.actions.interface import Outcome, StepResult
from opsctl.engine.executors.interface import Before, Executor
from opsctl.engine.executors.local import LocalExecutor
from opsctl.errors import Interrupted
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep

Do = Callable[[str, str | None], str]


def step(name: str, *after: str, items: tuple[str | None, ...] = (None,), **more: Any) -> BoundStep:
    return BoundStep(name, "toy", name, tuple(after), tuple(BoundItem(item, {}) for item in items), **more)


def plan(*steps: BoundStep) -> BoundPlan:
    return BoundPlan("run", "toy", "toy", datetime(2026, 12, 12, tzinfo=UTC), "test", {}, steps)


class Ran:
    """Runs a plan and keeps what was done, in order of starting, and how it ended."""

    def __init__(self, make: Callable[[threading.Event], Executor]) -> None:
        self.stopped = threading.Event()
        self.executor = make(self.stopped)
        self.started: list[tuple[str, str | None]] = []
        self.results: dict[tuple[str, str | None], StepResult] = {}
        self.guard = threading.Lock()

    def go(self, bound: BoundPlan, do: Do = lambda step, item: Outcome.OK, **more: Any) -> Ran:
        def perform(one: BoundStep, item: BoundItem, *, unknown: bool = False) -> StepResult:
            with self.guard:
                self.started.append((one.id, item.item))
            return StepResult(one.id, item.item, do(one.id, item.item), "because")

        more.setdefault("before", Before())
        self.executor.execute(bound, perform, on_result=lambda one, result: self.results.__setitem__(
            (result.step, result.item), result), **more)
        return self

    def outcome(self, name: str, item: str | None = None) -> str | None:
        found = self.results.get((name, item))
        return found.outcome if found else None


@pytest.fixture(params=[LocalExecutor], ids=["local"])
def ran(request: pytest.FixtureRequest) -> Ran:
    return Ran(lambda stopped: request.param(stopped=stopped))


def test_a_bug_ends_the_run_although_somebody_is_waited_for(ran: Ran) -> None:
    def do(name: str, item: str | None) -> str:
        if name == "bug":
            raise ZeroDivisionError
        return Outcome.WAITING

    with pytest.raises(ZeroDivisionError):
        ran.go(plan(step("gate"), step("bug")), do, patient=True)


def test_steps_run_in_the_order_of_the_graph(ran: Ran) -> None:
    ran.go(plan(step("c", "b"), step("a"), step("b", "a")))
    assert [name for name, _ in ran.started] == ["a", "b", "c"]


def test_independent_branches_run_at_once(ran: Ran) -> None:
    both = threading.Barrier(2, timeout=20)

    def do(name: str, item: str | None) -> str:
        both.wait()  # passes only while the other one is under way too
        return Outcome.OK

    ran.go(plan(step("left"), step("right")), do)
    assert ran.outcome("left") == ran.outcome("right") == Outcome.OK


def test_a_failed_step_skips_what_depends_on_it_and_nothing_else(ran: Ran) -> None:
    ran.go(plan(step("a"), step("b", "a"), step("c", "b"), step("other")),
           lambda name, item: Outcome.FAILED if name == "a" else Outcome.OK)
    assert ran.outcome("b") == ran.outcome("c") == Outcome.SKIPPED
    assert ran.results[("b", None)].because == "'a' failed"
    assert ran.outcome("other") == Outcome.OK
    assert ("b", None) not in ran.started


def test_always_runs_after_a_failure_and_may_fail_holds_nothing_up(ran: Ran) -> None:
    ran.go(plan(step("a"), step("tell", "a", always=True), step("b", may_fail=True), step("c", "b")),
           lambda name, item: Outcome.FAILED if name in ("a", "b") else Outcome.OK)
    assert ran.outcome("tell") == Outcome.OK
    assert ran.outcome("c") == Outcome.OK


def test_one_failed_item_fails_the_step_and_the_other_items_are_done(ran: Ran) -> None:
    ran.go(plan(step("a", items=("1", "2", "3")), step("b", "a")),
           lambda name, item: Outcome.FAILED if item == "2" else Outcome.OK)
    assert [ran.outcome("a", item) for item in "123"] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
    assert ran.outcome("b") == Outcome.SKIPPED


def test_items_run_as_many_at_once_as_asked(ran: Ran) -> None:
    guard, under_way, most = threading.Lock(), 0, 0
    four = threading.Barrier(4, timeout=20)

    def do(name: str, item: str | None) -> str:
        nonlocal under_way, most
        with guard:
            under_way += 1
            most = max(most, under_way)
        four.wait()
        with guard:
            under_way -= 1
        return Outcome.OK

    ran.go(plan(step("a", items=tuple(str(n) for n in range(12)), at_once=4)), do)
    assert most == 4 and len(ran.results) == 12


def test_a_step_without_items_ends_well(ran: Ran) -> None:
    ran.go(plan(step("a", items=()), step("b", "a")))
    assert ran.outcome("b") == Outcome.OK


def test_a_waiting_step_holds_up_what_follows_and_nothing_else(ran: Ran) -> None:
    ran.go(plan(step("gate"), step("after", "gate"), step("other")),
           lambda name, item: Outcome.WAITING if name == "gate" else Outcome.OK)
    assert ran.outcome("gate") == Outcome.WAITING
    assert ran.outcome("after") is None
    assert ran.outcome("other") == Outcome.OK


def test_a_patient_run_asks_a_gate_again_until_it_opens(ran: Ran) -> None:
    asked = 0

    def do(name: str, item: str | None) -> str:
        nonlocal asked
        asked += name == "gate"
        return Outcome.WAITING if name == "gate" and asked < 2 else Outcome.OK

    ran.go(plan(step("gate"), step("after", "gate")), do, patient=True)
    assert asked == 2 and ran.outcome("after") == Outcome.OK


def test_what_was_done_before_is_not_done_again(ran: Ran) -> None:
    before = Before(done={("a", "1"): Outcome.CHANGED})
    ran.go(plan(step("a", items=("1", "2")), step("b", "a")), before=before)
    assert ran.started == [("a", "2"), ("b", None)]
    assert ran.outcome("a", "1") == Outcome.CHANGED


def test_an_event_of_unknown_end_is_said_to_be_so(ran: Ran) -> None:
    told = {}

    def perform(one: BoundStep, item: BoundItem, *, unknown: bool = False) -> StepResult:
        told[one.id] = unknown
        return StepResult(one.id, item.item, Outcome.OK, "")

    ran.executor.execute(plan(step("a"), step("b")), perform, before=Before(unknown={("a", None)}),
                         on_result=lambda one, result: None)
    assert told == {"a": True, "b": False}


def test_a_stop_ends_the_run_after_what_is_under_way(ran: Ran) -> None:
    def do(name: str, item: str | None) -> str:
        ran.stopped.set()
        return Outcome.OK

    with pytest.raises(Interrupted):
        ran.go(plan(step("a"), step("b", "a")), do)
    assert ran.started == [("a", None)]


def test_a_bug_in_a_step_is_raised_and_not_swallowed(ran: Ran) -> None:
    def do(name: str, item: str | None) -> str:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        ran.go(plan(step("a"), step("b", "a")), do)
