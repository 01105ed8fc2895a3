"""Steps that find nothing to do, and steps that change something, beside bare appends flushed one by one."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, environment
from tests.bench.measure import memory, python, run
from tests.bench.table import Row, compare, megabytes

_CODE = "from tests.bench.steps import main; main()"
#: Memory after so many steps is held against memory after all of them.
EARLY = 1000


def rows(bench: Bench) -> list[Row]:
    place = bench.place("steps")
    env = environment(bench.bare_machine(place / "m"))
    found = []
    for kind, full in (("nothing to do", 10_000), ("one change each", 2_000)):
        count = bench.size(full, 200)
        ours: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        for turn in range(bench.rounds(5)):
            said = place / f"{turn}-{kind.replace(' ', '-')}"
            run(python("-c", _CODE, "steps", str(said), kind, str(count)), env=env, out=place / "said")
            ours.append(json.loads(said.with_suffix(".json").read_text()))
            run(
                python("-c", _CODE, "appends", str(said), str(ours[-1]["lines"]), str(ours[-1]["bytes"])),
                env=env,
                out=place / "said",
            )
            theirs.append(json.loads(said.with_suffix(".json").read_text()))
        found += _rows(f"{count:,} steps, {kind}", count, ours, theirs)
    return found


def _rows(what: str, count: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[Row]:
    each = statistics.median(one["seconds"] for one in ours) / count
    bare = statistics.median(one["seconds"] for one in theirs) / count
    lines = ours[0]["lines"] / count
    state = ours[0]["bytes"] / count
    early, late = (statistics.median(one[key] for one in ours) for key in ("early", "late"))
    return [
        compare(f"{what}: time of one", each, bare, beside=f"{lines:.1f} flushed appends"),
        Row(f"{what}: journal of one", f"{state:.0f} bytes in {lines:.1f} lines"),
        Row(
            f"{what}: memory",
            f"{megabytes(late)} at the end",
            f"{megabytes(early)} after {min(EARLY, count // 2):,}",
            late / early,
            "ratio ≤ 1.1",
            late / early <= 1.1,
        ),
    ]


def main() -> None:
    """In a process of its own: ``steps PLACE KIND COUNT`` or ``appends PLACE LINES BYTES``."""
    what, place, *rest = sys.argv[1:]
    if what == "steps":
        found = _steps(Path(place), rest[0], int(rest[1]))
    else:
        found = _appends(Path(place), int(rest[0]), int(rest[1]))
    Path(place).with_suffix(".json").write_text(json.dumps(found))


def _steps(place: Path, kind: str, count: int) -> dict[str, Any]:
    from opsctl.engine.executors.local import LocalExecutor
    from opsctl.engine.journal import Journal
    from opsctl.engine.lock import Locks
    from opsctl.engine.runs import Runs
    from opsctl.model.plan import BoundItem, BoundPlan, BoundStep

    journal = Journal(place / "journal", lambda: datetime.now(UTC))
    runs = Runs(place, journal, Locks(place / "locks"))
    items = tuple(BoundItem(f"{number:05d}", {"name": f"{number:05d}"}) for number in range(count))
    plan = BoundPlan(
        "20261212-0230-bench-0000",
        "bench",
        "bench",
        datetime.now(UTC),
        "bench",
        {},
        (BoundStep("touch", "touch", "touch", (), items),),
    )
    ended = 0
    seen: dict[str, int] = {}

    def took(*_: object) -> None:
        nonlocal ended
        ended += 1
        if ended == min(EARLY, count // 2):
            seen["early"] = memory()

    action = _action(kind == "one change each")
    begun = time.perf_counter()
    tally = runs.start(plan, _World(), LocalExecutor(), lambda word: action, took)
    seconds, seen["late"] = time.perf_counter() - begun, memory()
    assert sum(tally.outcomes.values()) == count and not tally.exit_code, tally
    content = b"".join(path.read_bytes() for path in sorted((place / "journal").glob("*.jsonl")))
    return {"seconds": seconds, "lines": content.count(b"\n"), "bytes": len(content), **seen}


def _action(changes: bool) -> Any:
    """An action of which each item is as wanted from the start, or after one change."""
    from opsctl.actions.interface import Change, Params, StateAction

    class TouchParams(Params):
        name: str

    class Touch(StateAction[TouchParams, bool]):
        word = "touch"
        Params = TouchParams

        def __init__(self) -> None:
            self.done: set[str] = set()

        def observe(self, params: TouchParams, world: Any) -> bool:
            return not changes or params.name in self.done

        def plan(self, params: TouchParams, seen: bool) -> list[Change]:
            return [] if seen else [Change("touch", f"touch {params.name}")]

        def apply(self, params: TouchParams, change: Change, world: Any) -> None:
            self.done.add(params.name)

    return Touch()


class _World:
    """As much of a world as the engine itself asks for."""

    run = "20261212-0230-bench-0000"
    warnings: tuple[str, ...] = ()

    def plan_digest(self) -> str:
        return "0" * 64


def _appends(place: Path, lines: int, size: int) -> dict[str, Any]:
    """The same lines without an engine: each appended and flushed before the next."""
    line = b"x" * (size // lines - 1) + b"\n"
    file = os.open(place.with_suffix(".bare"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    begun = time.perf_counter()
    for _ in range(lines):
        os.write(file, line)
        os.fdatasync(file)
    seconds = time.perf_counter() - begun
    os.close(file)
    return {"seconds": seconds}
