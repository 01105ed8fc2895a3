"""The journal: entries appended, each flushed before the next, and verified, beside the least that either can cost."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from opsctl.engine.journal import Journal
from opsctl.engine.journal_verify import verify
from tests.bench.bench import Bench
from tests.bench.measure import Failed
from tests.bench.table import Row, compare


def rows(bench: Bench) -> list[Row]:
    place, count = bench.place("journal"), bench.size(10_000, 200)
    took: dict[str, list[float]] = {"append": [], "bare": [], "verify": [], "read": []}
    for turn in range(bench.rounds(5)):
        folder = place / str(turn)
        took["append"].append(_timed(lambda folder=folder: _append(folder, count)))
        content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl")))
        took["bare"].append(_timed(lambda turn=turn, content=content: _bare(place / f"{turn}.bare", content)))
        took["verify"].append(_timed(lambda folder=folder: _verify(folder, count)))
        took["read"].append(_timed(lambda content=content: _read(content)))
    each = {name: statistics.median(all_) / count for name, all_ in took.items()}
    return [
        compare(f"journal, {count:,} entries, each flushed: one", each["append"], each["bare"], beside="write and fdatasync"),
        compare(f"journal, {count:,} entries verified: one", each["verify"], each["read"], beside="parsed and hashed"),
    ]


def _timed(what: Callable[[], None]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def _append(folder: Path, count: int) -> None:
    with Journal(folder, lambda: datetime.now(UTC)) as journal:
        for number in range(count):
            journal.append("incident.noted", {"incident": "inc-1", "by": "asha", "text": f"note {number}: looked at db-{number % 40}, nothing new in its logs"})


def _bare(file: Path, content: bytes) -> None:
    """The same lines, each written and flushed."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for line in content.splitlines(keepends=True):
        os.write(descriptor, line)
        os.fdatasync(descriptor)
    os.close(descriptor)


def _verify(folder: Path, count: int) -> None:
    found = verify(folder)
    if found.problems or found.lines != count:
        raise Failed(f"the journal of {count} entries verified as {found.lines}: {found.problems[:1]}")


def _read(content: bytes) -> None:
    for line in content.splitlines():
        json.loads(line)
        hashlib.sha256(line).hexdigest()
