"""What the tests of the journal share."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from opsctl.engine.journal import Journal

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def at_noon() -> datetime:
    return NOON


def lines(journal: Journal, segment: str = "000001.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (journal.directory / segment).read_bytes().splitlines()]


def texts(journal: Journal) -> list[Any]:
    return [entry.data.get("n") for entry in journal.read()]


def write(journal: Journal, *numbers: int) -> None:
    for n in numbers:
        journal.append("step.begin", {"n": n}, run="r")


def child(script: str, *argv: str) -> subprocess.Popen[bytes]:
    prologue = ("import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
                "from opsctl.engine.journal import Journal\n"
                "journal = Journal(Path(sys.argv[1]), lambda: datetime.now(UTC))\n")
    return subprocess.Popen([sys.executable, "-c", prologue + script, *argv], stdout=subprocess.PIPE,
                            stdin=subprocess.PIPE)
