"""A MariaDB dump is killed half-way: no snapshot of it, no session and no lock left, and resume goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from opsctl.sources.mariadb_server import Mariadb
from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, lines, until
from tests.badluck.scene import nothing_left, set_of, snapshots
from tests.lab.mariadb import configure, content, licences, sessions
from tests.machine import Machine


@pytest.fixture(scope="module")
def server() -> Iterator[Mariadb]:
    with licences() as server:
        yield server


@pytest.mark.parametrize("victim", ["opsctl", "mariadb-dump"])
def test_promise_7_killed_in_the_middle_of_a_dump(
    machine: Machine, server: Mariadb, restic: FaultyRestic, tmp_path: Path, victim: str
) -> None:
    configure(machine, server)
    restic.brake(16, at="source=licence-db")  # the dump stands still once the pipes are full
    process = machine.start("--json", "backup", "run", env=restic.env)
    dump = until(lambda: dumping(machine), "a dump at work")
    os.kill(process.pid if victim == "opsctl" else dump, signal.SIGKILL)
    restic.release()
    done = faults.ended(process)
    faults.all_gone(machine, restic)
    until(lambda: sessions(server) == "", "the end of the sessions")
    server.sql("SET lock_wait_timeout = 1; UPDATE totals SET number = number", "licence")  # nobody is held
    run = str(lines(machine)[-1]["run"])
    if victim == "opsctl":
        assert done.code == -signal.SIGKILL
    else:
        assert done.code == 3 and "SIGKILL" in done.document["errors"][0]["message"]
    assert snapshots(machine, set_of(run), "source=licence-db") == []
    kept = snapshots(machine, set_of(run), "source=files")
    machine("resume", run, expect=0)
    assert snapshots(machine, set_of(run), "source=files") == kept, "what was done is not done again"
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), "--database", f"licence-db=licence_{len(victim)}",
            expect=0)
    assert content(server, f"licence_{len(victim)}") == content(server, "licence")
    nothing_left(machine)


def dumping(machine: Machine) -> int | None:
    """The mariadb-dump of this machine, once it has sent more than its header."""
    for pid in faults.processes(machine):
        with suppress(OSError, IndexError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            written = Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0]
            if os.path.basename(words[0]) == b"mariadb-dump" and int(written) > 100_000:
                return pid
    return None
