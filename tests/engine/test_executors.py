"""The contract of every executor; an executor's own file says only how to make one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
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
        self.came_to: Mapping[str, str] = {}
        self.guard = threading.Lock()

    def go(self, bound: BoundPlan, do: Do = lambda step, item: Outcome.OK, **more: Any) -> Ran:
        def perform(one: BoundStep, item: BoundItem, *, unknown: bool = False) -> StepResult:
            with self.guard:
                self.started.append((one.id, item.item))
            return StepResult(one.id, item.item, do(one.id, item.item), "because")

        more.setdefault("before", Before())
        self.came_to = self.executor.execute(bound, perform, on_result=lambda one, result: self.results.__setitem__(
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


# Hundreds of items


def many(count: int) -> tuple[str | None, ...]:
    return tuple(str(number) for number in range(count))


def test_hundreds_of_items_are_under_way_at_once(ran: Ran) -> None:
    everyone = threading.Barrier(412, timeout=60)

    def do(name: str, item: str | None) -> str:
        everyone.wait()  # passes only while all the others are under way too
        return Outcome.OK

    ran.go(plan(step("a", items=many(412), at_once=512)), do)
    assert len(ran.results) == 412


def test_a_branch_does_not_wait_for_the_many_items_of_another(ran: Ran) -> None:
    freed = threading.Event()

    def do(name: str, item: str | None) -> str:
        if name == "freeze":
            freed.set()
        return Outcome.OK if freed.wait(20) else Outcome.FAILED

    ran.go(plan(step("cut-off", items=many(64), at_once=64), step("freeze")), do)
    assert {found.outcome for found in ran.results.values()} == {Outcome.OK}


def test_as_many_as_are_tolerated_may_fail_and_what_follows_goes_on(ran: Ran) -> None:
    bad = ("1", "3")

    def do(name: str, item: str | None) -> str:
        return Outcome.FAILED if item in bad else Outcome.CHANGED

    steps = (step("a", items=many(5), tolerate=2), step("b", "a"))
    assert ran.go(plan(*steps), do).came_to == {"a": Outcome.PARTLY, "b": Outcome.CHANGED}
    bad = ("1", "3", "4")
    assert ran.go(plan(*steps), do).came_to == {"a": Outcome.FAILED, "b": Outcome.SKIPPED}


def test_what_ended_unknown_is_never_tolerated(ran: Ran) -> None:
    words = {"0": Outcome.FAILED, "1": Outcome.UNKNOWN}
    ran.go(plan(step("a", items=many(3), tolerate=3), step("b", "a")),
           lambda name, item: words.get(item or "", Outcome.OK))
    assert ran.came_to == {"a": Outcome.UNKNOWN, "b": Outcome.SKIPPED}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED, Outcome.UNKNOWN])
def test_the_rest_is_begun_only_where_every_canary_succeeded(ran: Ran, outcome: str) -> None:
    steps = plan(step("a", items=many(6), at_once=6, canary=2, tolerate=6), step("b", "a"))
    ran.go(steps, lambda name, item: outcome if item == "1" else Outcome.OK)
    assert sorted(item or "" for name, item in ran.started if name == "a") == ["0", "1"]
    assert [ran.outcome("a", item) for item in "2345"] == [Outcome.SKIPPED] * 4
    assert ran.results["a", "2"].because.startswith("not begun: the canary 1 ")
    assert ran.came_to == {"a": outcome, "b": Outcome.SKIPPED}


def test_the_rest_waits_for_all_canaries(ran: Ran) -> None:
    ended = 0

    def do(name: str, item: str | None) -> str:
        nonlocal ended
        assert item in ("0", "1") or ended == 2
        with ran.guard:
            ended += item in ("0", "1")
        return Outcome.CHANGED

    ran.go(plan(step("a", items=many(20), at_once=20, canary=2)), do)
    assert ran.came_to == {"a": Outcome.CHANGED} and len(ran.results) == 20


def test_a_wave_begins_when_the_one_before_has_ended(ran: Ran) -> None:
    ended: set[int] = set()

    def do(name: str, item: str | None) -> str:
        number = int(item or "")
        first = 0 if number < 2 else 2 + (number - 2) // 3 * 3  # two canaries, then waves of three
        assert set(range(first)) <= ended
        with ran.guard:
            ended.add(number)
        return Outcome.FAILED if number == 3 else Outcome.OK

    ran.go(plan(step("a", items=many(10), at_once=10, canary=2, waves=3, tolerate=1)), do)
    assert len(ended) == 10 and ran.came_to == {"a": Outcome.PARTLY}


def test_after_so_many_failures_the_rest_is_not_begun(ran: Ran) -> None:
    ran.go(plan(step("a", items=many(6), stop_after=2, tolerate=6), step("b", "a")),
           lambda name, item: Outcome.FAILED if item in ("1", "3") else Outcome.OK)
    assert [item for name, item in ran.started if name == "a"] == ["0", "1", "2", "3"]
    assert ran.results["a", "4"].because == "not begun: 2 items of this step failed, and it stops after 2"
    assert ran.came_to == {"a": Outcome.FAILED, "b": Outcome.SKIPPED}, "what was not begun is not tolerated"


def test_canaries_that_were_done_before_are_not_sent_again(ran: Ran) -> None:
    before = Before(done={("a", "0"): Outcome.CHANGED, ("a", "1"): Outcome.CHANGED})
    ran.go(plan(step("a", items=many(4), canary=2, waves=1)), before=before)
    assert ran.started == [("a", "2"), ("a", "3")] and ran.came_to == {"a": Outcome.CHANGED}


def test_a_stop_begins_none_of_the_items_that_are_left(ran: Ran) -> None:
    def do(name: str, item: str | None) -> str:
        ran.stopped.set()
        return Outcome.FAILED

    with pytest.raises(Interrupted):
        ran.go(plan(step("a", items=many(9), canary=1, tolerate=9)), do)
    assert ran.started == [("a", "0")]
