"""compare: only what differs without having been changed is a finding, and it is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.machine import Machine, tree


def change(path: Path, text: str, *, hidden: bool) -> None:
    kept = path.stat()
    path.write_text(text)
    if hidden:
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def test_files_are_compared_with_the_newest_set(machine: Machine) -> None:
    for number in range(20):
        (machine.data / f"{number}.txt").write_text(f"number {number:04}\n" * 50)
    os.symlink("/etc/passwd", machine.data / "link")
    machine("backup", "compare", "portal", expect=23)
    machine("backup", "run", expect=0)
    before = tree(machine.data)

    sampled = machine.json("backup", "compare", "portal", "--sample", "5", expect=0).result["steps"][0]["result"]
    assert (sampled["sources"]["files"]["files"], sampled["sources"]["files"]["different"]) == (5, [])
    bounded = machine.json("backup", "compare", "portal", "--most", "1400", expect=0).result["steps"][0]["result"]
    assert (bounded["sources"]["files"]["files"], bounded["sources"]["files"]["too_large"]) == (2, 18)

    change(machine.data / "3.txt", "number 9999\n" * 50, hidden=False)
    change(machine.data / "4.txt", "longer than it was" * 50, hidden=True)
    (machine.data / "5.txt").unlink()
    (machine.data / "6.txt").unlink()
    (machine.data / "6.txt").symlink_to("7.txt")
    clean = machine("backup", "compare", "portal", "--source", "files", expect=0)
    assert "16 files" in clean.out and "4 changed since" in clean.out

    change(machine.data / "7.txt", "number 9999\n" * 50, hidden=True)
    found = machine.json("backup", "compare", "portal", expect=22)
    assert found.errors[0]["details"]["files"] == [f"{machine.data}/7.txt"]
    assert "same size and time, other content" in machine("backup", "compare", "portal", expect=22).out
    assert len(tree(machine.data)) == len(before) - 2, "nothing was put back"
    assert not list((machine.state / "runs").glob("*/scratch/*"))


def test_what_cannot_be_compared_is_said(machine: Machine) -> None:
    machine.configure(sources="  ldap: {kind: command, argv: [seq, '5']}", backup_sources="[ldap]")
    machine("backup", "run", expect=0)
    said = machine.json("backup", "compare", "portal", expect=2)
    assert "only files are compared" in said.errors[0]["message"]
    machine("backup", "compare", "portal", "--sample", "0", expect=2)
    machine("backup", "compare", "portal", "--most", "much", expect=2)
    machine("backup", "compare", "portal", "--source", "ldapp", expect=2)


def test_a_time_keeps_its_nanoseconds_in_every_zone() -> None:
    from opsctl.actions.compare import _nanoseconds

    now = time.time_ns()
    utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    india = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9 + 19_800))
    fraction = f"{now % 10**9:09}"
    assert _nanoseconds(f"{utc}.{fraction}Z") == now
    assert _nanoseconds(f"{india}.{fraction}+05:30") == now
    assert _nanoseconds("1970-01-01T00:00:01Z") == 10**9
    assert _nanoseconds("1969-12-31T23:59:59.5Z") == -(10**9) // 2
