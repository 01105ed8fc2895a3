"""One step: observe, plan, write down, apply, write down, observe again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from opsctl.actions.interface import (
    Change,
    CheckAction,
    EventAction,
    GateAction,
    Outcome,
    Params,
    StateAction,
    StepResult,
)
from opsctl.engine.perform import Performer
from opsctl.engine.runs import Tally
from opsctl.errors import Busy, DamagedData, Interrupted, OpsError, ProgramFailed, Unreachable, worst
from opsctl.model.plan import BoundItem, BoundStep


class Wanted(Params):
    words: tuple[str, ...] = ()


class World:
    """A shelf that things are put on; ``breaks`` fails for some, ``falls`` loses what was put there."""

    run = "run"

    def __init__(self, *, breaks: dict[str, OpsError] | None = None, falls: Sequence[str] = ()) -> None:
        self.shelf: list[str] = []
        self.breaks = breaks or {}
        self.falls = falls
        self.notes: Notes | None = None
        self.on_disk: list[bool] = []
        self.done: list[str] = []


class Put(StateAction[Wanted, frozenset[str]]):
    word, Params = "put", Wanted

    def observe(self, params: Wanted, world: Any) -> frozenset[str]:
        world.done.append("look")
        return frozenset(world.shelf)

    def plan(self, params: Wanted, seen: frozenset[str]) -> list[Change]:
        missing = [word for word in params.words if word not in seen]
        return [Change(word, f"put {word}", after=("a",) if word == "lid" and "a" in missing else ()) for word in missing]

    def apply(self, params: Wanted, change: Change, world: Any) -> None:
        world.done.append(f"put {change.key}")
        if world.notes is not None:
            world.on_disk.append(world.notes.lines[-1][2])
        if change.key in world.breaks:
            raise world.breaks[change.key]
        if change.key not in world.falls:
            world.shelf.append(change.key)

    def locks(self, params: Wanted) -> Sequence[str]:
        return ("shelf",)

    def skip_when_busy(self, params: Wanted) -> bool:
        return "patient" in params.words


class Look(CheckAction[Wanted, frozenset[str]]):
    word, Params = "look", Wanted

    def observe(self, params: Wanted, world: Any) -> frozenset[str]:
        return frozenset(world.shelf)

    def findings(self, params: Wanted, seen: frozenset[str]) -> Sequence[OpsError]:
        return [DamagedData(f"{word} is not there") for word in params.words if word not in seen]


class Door(GateAction[Wanted, bool]):
    word, Params = "door", Wanted

    def observe(self, params: Wanted, world: Any) -> bool:
        return "key" in world.shelf

    def waits_for(self, params: Wanted, seen: bool) -> str | None:
        return None if seen else "someone brings the key"


class Ring(EventAction[Wanted, None]):
    word, Params = "ring", Wanted

    def observe(self, params: Wanted, world: Any) -> None:
        return None

    def happen(self, params: Wanted, world: Any) -> dict[str, Any]:
        world.done.append("ring")
        return {"heard": True}


class Notes:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any], bool]] = []

    def append(self, type: str, data: dict[str, Any], *, run: str | None = None, durable: bool = True) -> None:
        self.lines.append((type, data, durable))

    @property
    def types(self) -> list[str]:
        return [type for type, _, _ in self.lines]


@contextlib.contextmanager
def free(name: str, purpose: str) -> Iterator[None]:
    yield


@contextlib.contextmanager
def taken(name: str, purpose: str) -> Iterator[None]:
    raise Busy("pid 4711 is at work")
    yield


def perform(world: World, uses: str, *words: str, notes: Notes | None = None, hold: Any = free, dry: bool = False,
            unknown: bool = False, **more: Any) -> Any:
    actions = {found.word: found for found in (Put(), Look(), Door(), Ring())}
    performer = Performer(world, notes or Notes(), actions.__getitem__, hold, dry_run=dry)  # type: ignore[arg-type]
    return performer(BoundStep("s", uses, "s", (), (), **more), BoundItem(None, {"words": words}), unknown=unknown)


def test_a_change_is_written_down_before_it_is_made_and_looked_for_after() -> None:
    world, notes = World(), Notes()
    world.notes = notes
    result = perform(world, "put", "a", "b", notes=notes)
    assert result.outcome == Outcome.CHANGED
    assert world.done == ["look", "put a", "put b", "look"]
    assert notes.types == ["step.begin", *["change.begin", "change.done"] * 2, "step.end"]
    assert world.on_disk == [True, True], "a line is on disk only with all before it, so none is left behind the effect"
    waits = [type for type, _, durable in notes.lines if not durable]
    assert waits == ["step.begin", "change.done"], "only what the next change brings to the disk before it is made waits for that"


def test_the_second_time_is_ok_and_writes_one_line() -> None:
    world, notes = World(), Notes()
    perform(world, "put", "a")
    assert perform(world, "put", "a", notes=notes).outcome == Outcome.OK
    assert notes.types == ["step.end"]


def test_success_is_what_the_second_look_shows() -> None:
    result = perform(World(falls=["a"]), "put", "a")
    assert result.outcome == Outcome.FAILED
    assert result.codes == (21,)
    assert "put a" in result.because


def test_a_failed_change_stops_only_what_is_built_on_it() -> None:
    world = World(breaks={"a": ProgramFailed("no")})
    result = perform(world, "put", "a", "b", "lid")
    assert world.done == ["look", "put a", "put b", "look"]
    assert result.codes == (20, 0)
    assert world.shelf == ["b"]


def test_what_needed_no_change_counts_for_the_exit_code_where_it_was_asked_for() -> None:
    class Asked(Put):
        def asked(self, params: Wanted, seen: frozenset[str]) -> int:
            return len(params.words)

    world = World(breaks={"b": Unreachable("no")})
    world.shelf.append("a")
    performer = Performer(world, Notes(), lambda word: Asked(), free)  # type: ignore[arg-type]
    step = BoundStep("s", "put", "s", (), ())
    assert worst(performer(step, BoundItem(None, {"words": ("a", "b")})).codes) == 3
    assert worst(performer(step, BoundItem(None, {"words": ("b",)})).codes) == 13


@pytest.mark.parametrize("codes", [(13, 13, 0), (0, 13, 13), (0, 0, 0, 13), (12, 12, 0, 0)])
def test_where_some_of_many_succeeded_it_is_3_whoever_ended_first(codes: Sequence[int]) -> None:
    step = BoundStep("s", "put", "s", (), tuple(BoundItem(str(one), {}) for one in range(len(codes))))
    tally = Tally()
    for item, code in zip(step.items, codes, strict=True):
        tally.add(step, StepResult("s", item.item, Outcome.FAILED if code else Outcome.CHANGED, "", (code,)))
    assert tally.exit_code == 3


def test_where_the_commit_fails_nothing_was_achieved() -> None:
    class Sealed(Put):
        def plan(self, params: Wanted, seen: frozenset[str]) -> list[Change]:
            return [replace(change, commit=change.key == "seal") for change in super().plan(params, seen)]

    step, item = BoundStep("s", "put", "s", (), ()), BoundItem(None, {"words": ("a", "seal")})
    performer = Performer(World(breaks={"seal": ProgramFailed("no")}), Notes(), lambda word: Sealed(), free)  # type: ignore[arg-type]
    assert performer(step, item).codes == (20,)
    performer = Performer(World(breaks={"a": ProgramFailed("no")}), Notes(), lambda word: Sealed(), free)  # type: ignore[arg-type]
    assert performer(step, item).codes == (20, 0)


def test_a_failure_that_left_the_world_as_wanted_is_no_failure() -> None:
    class Deaf(Put):
        def apply(self, params: Wanted, change: Change, world: Any) -> None:
            world.shelf.append(change.key)
            raise Unreachable("the answer was lost")

    performer = Performer(World(), Notes(), lambda word: Deaf(), free)  # type: ignore[arg-type]
    result = performer(BoundStep("s", "put", "s", (), ()), BoundItem(None, {"words": ("a",)}))
    assert result.outcome == Outcome.CHANGED and "the answer was lost" in result.because


def test_a_dry_run_changes_and_writes_nothing() -> None:
    world, notes = World(), Notes()
    result = perform(world, "put", "a", notes=notes, dry=True, hold=taken)
    assert result.outcome == Outcome.PLANNED and result.changes == ("put a",)
    assert world.shelf == [] and notes.lines == []


def test_someone_elses_lock_is_11_or_nothing_to_do() -> None:
    assert perform(World(), "put", "a", hold=taken).codes == (11,)
    assert perform(World(), "put", "patient", hold=taken).outcome == Outcome.SKIPPED


def test_a_check_finds_and_changes_nothing() -> None:
    result = perform(World(), "look", "a", "b")
    assert result.outcome == Outcome.FAILED and result.codes == (22, 22)


def test_a_gate_waits() -> None:
    world = World()
    assert perform(world, "door").because == "someone brings the key"
    world.shelf.append("key")
    assert perform(world, "door").outcome == Outcome.OK


def test_an_event_is_written_down_before_it_happens() -> None:
    world, notes = World(), Notes()
    assert perform(world, "ring", notes=notes).result == {"heard": True}
    assert notes.types == ["step.begin", "step.end"]
    assert all(durable for _, _, durable in notes.lines)


@pytest.mark.parametrize(("word", "outcome", "rung"), [("ask", Outcome.UNKNOWN, []), ("repeat", Outcome.CHANGED, ["ring"])])
def test_an_event_that_was_cut_off_is_asked_about_or_repeated(word: str, outcome: str, rung: list[str]) -> None:
    world = World()
    assert perform(world, "ring", unknown=True, on_unknown=word).outcome == outcome
    assert world.done == rung


def test_an_interruption_passes_through_and_ends_no_step() -> None:
    notes = Notes()
    with pytest.raises(Interrupted):
        perform(World(breaks={"a": Interrupted()}), "put", "a", notes=notes)
    assert "step.end" not in notes.types and "change.failed" not in notes.types


def test_a_bug_that_one_of_many_met_is_its_own_failure_and_that_of_a_single_step_is_raised() -> None:
    class Odd(World):
        run = "r"

    world, notes = Odd(), Notes()
    world.shelf = 4  # type: ignore[assignment]
    performer = Performer(world, notes, lambda word: Put(), free)  # type: ignore[arg-type]
    items = (BoundItem("h1", {"words": ["a"]}), BoundItem("h2", {"words": ["a"]}))
    result = performer(BoundStep("s", "put", "s", (), items), items[0])
    assert result.outcome == Outcome.FAILED and result.codes == (1,) and result.errors[0].where == "h1"
    assert "TypeError" in next(data["trace"] for type, data, _ in notes.lines if type == "bug")
    with pytest.raises(TypeError):
        performer(BoundStep("s", "put", "s", (), items[:1]), items[0])
