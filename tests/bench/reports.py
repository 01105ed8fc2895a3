"""A report drafted in all its formats, and the closing report of an incident with a long timeline."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

from opsctl.engine.journal import Journal
from opsctl.model.incident import NOTED
from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Cost, cpu, wall
from tests.bench.table import Row, limit, seconds
from tests.machine import Machine

_OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
         "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code")


def rows(bench: Bench) -> list[Row]:
    machine = bench.bare_machine(bench.place("reports") / "m")
    machine.environ["OPSCTL_CLOCK"] = "2026-12-21T03:00:00+05:30"
    machine.configure(f"state: {machine.state}\norganisation: {{name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}}\n")
    call(machine, *_OPEN, env=environment(machine))
    found = [_row(name, _drafts(bench, machine, *words)) for name, words in (
        ("report draft cert-in, one PDF and all other formats", ("cert-in", "--lang", "en")),
        ("report draft cert-in, English and Hindi", ("cert-in", "--lang", "both")))]
    entries = bench.size(10_000, 100)
    _note(machine, entries)
    costs = _drafts(bench, machine, "closing", "--lang", "en")
    name = f"report draft closing, {entries:,} entries in the timeline"
    return [*found, Row(name, seconds(wall(costs)), f"processor {seconds(cpu(costs))}", None, "", None)]


def _drafts(bench: Bench, machine: Machine, *words: str) -> list[Cost]:
    return [call(machine, "report", "draft", *words, env=environment(machine)) for _ in range(bench.rounds(9))]


def _row(name: str, costs: list[Cost]) -> Row:
    return limit(name, wall(costs), seconds(wall(costs)), at_most=1.0, aim="< 1 s", theirs=f"processor {seconds(cpu(costs))}")


def _note(machine: Machine, entries: int) -> None:
    """A timeline as months would make it."""
    begun = datetime.fromisoformat("2026-12-21T03:00:00+05:30")
    ticks = itertools.count()
    with Journal(machine.state / "journal", lambda: begun + timedelta(minutes=next(ticks))) as journal:
        for number in range(entries):
            journal.append(NOTED, {"incident": "inc-1", "text": f"step {number}: a disk was checked", "by": "asha"}, durable=False)
        journal.flush()
