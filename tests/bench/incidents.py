"""An incident with 10,000 entries in its timeline: shown, as a board, and written on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opsctl.engine.journal import Journal
from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Failed, cpu, turns, wall
from tests.bench.table import Row, limit, seconds


def rows(bench: Bench) -> list[Row]:
    machine = bench.machine(bench.place("incidents") / "m")
    env, count, board = environment(machine), bench.size(10_000, 200), machine.root / "board.html"
    noticed = datetime.now(UTC) - timedelta(minutes=1)
    call(machine, "incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", noticed.isoformat(), "--noticed-by", "night operator",
         "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code", env=env, codes=(0, 5))
    with Journal(machine.state / "journal", lambda: datetime.now(UTC)) as journal:
        for number in range(count):
            journal.append("incident.noted", {"incident": "inc-1", "by": "asha", "text": f"note {number}: looked at db-{number % 40}, nothing new in its logs"},
                           durable=False)
    commands = {"incident show": ("incident", "show", "inc-1"), "incident show --all": ("incident", "show", "inc-1", "--all"), "status": ("status",),
                "status --html": ("status", "--html", str(board)), "incident note": ("incident", "note", "inc-1", "looked again")}
    took = turns(bench.rounds(9), **{name: lambda words=words: call(machine, *words, env=env, codes=(0, 5)) for name, words in commands.items()})
    _see(board, count)
    return [_row(f"{name}, {count:,} entries", wall(costs), f"processor {seconds(cpu(costs))}", aimed=name != "incident note") for name, costs in took.items()]


def _row(name: str, found: float, beside: str, *, aimed: bool) -> Row:
    return limit(name, found, seconds(found), at_most=1.0, aim="< 1 s", theirs=beside) if aimed else Row(name, seconds(found), beside)


def _see(board: Path, count: int) -> None:
    shown = re.search(r"\(5 / ([\d,]+)\)", board.read_text())
    if shown is None or int(shown[1].replace(",", "")) <= count:
        raise Failed(f"the board does not show the newest of {count} entries")
