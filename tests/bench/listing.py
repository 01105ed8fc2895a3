"""Looking into a snapshot of a million files, beside ``restic ls``; and how much memory that takes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Cost, peak_memory, python, run, turns, wall
from tests.bench.table import Row, compare, limit, megabytes
from tests.machine import Machine

MEMORY = 300e6
_RAM = Path("/dev/shm")
_LS = "from tests.bench.listing import list_all; list_all()"
_OPSCTL = "from tests.bench.listing import call_opsctl; call_opsctl()"


def rows(bench: Bench) -> list[Row]:
    place = bench.place("listing")
    machine = bench.machine(place / "m")
    count = bench.size(1_000_000, 2_000)
    with _empty_files(place, count) as folder:
        bench.say(f"backing up {count:,} files")
        machine.configure(sources=f"  many: {{kind: paths, paths: [{folder}]}}", backup_sources="[many]")
        call(machine, "backup", "run", "portal")
        snapshot = next(found["id"] for found in machine.snapshots() if "manifest" not in found["tags"])
        return [*_whole(bench, machine, snapshot, count), *_lookups(bench, machine, snapshot, folder, count)]


def _whole(bench: Bench, machine: Machine, snapshot: str, count: int) -> list[Row]:
    env = _environment(machine)
    said = machine.root / "listed"
    took = turns(
        bench.rounds(3),
        ours=lambda: run(python("-c", _LS, str(machine.etc), snapshot, str(said)), env=env, out=machine.root / "said"),
        raw=lambda: run(["restic", "ls", "--no-lock", snapshot], env=env),
        json=lambda: run(["restic", "ls", "--no-lock", "--json", snapshot], env=env),
    )
    found = json.loads(said.read_text())
    assert found["files"] == count, found
    return [
        compare(
            f"{count:,} files listed by Repository.ls",
            wall(took["ours"]),
            wall(took["raw"]),
            at_most=2,
            beside="restic ls",
        ),
        compare(
            f"{count:,} files listed by Repository.ls",
            wall(took["ours"]),
            wall(took["json"]),
            beside="restic ls --json",
        ),
        limit("  its memory", found["memory"], megabytes(found["memory"]), at_most=MEMORY, aim="< 300 MB"),
    ]


def _lookups(bench: Bench, machine: Machine, snapshot: str, folder: Path, count: int) -> list[Row]:
    """What ``restore files`` does before it starts: find the path in the set and measure what is below."""
    env = _environment(machine)
    said = machine.root / "looked"
    found = []
    for path, what in ((folder / "0001" / "001", "one file"), (folder, f"a folder of {count:,}")):

        def ours(path: Path = path) -> Cost:
            return run(
                python(
                    "-c",
                    _OPSCTL,
                    str(said),
                    "--config",
                    str(machine.etc),
                    "--dry-run",
                    "restore",
                    "files",
                    "portal",
                    str(path),
                    "--into",
                    str(machine.root / "back"),
                ),
                env=env,
                out=machine.root / "said",
            )

        def raw(path: Path = path) -> Cost:
            return run(["restic", "ls", "--no-lock", "--recursive", snapshot, str(path)], env=env)

        took = turns(bench.rounds(3), ours=ours, raw=raw)
        memory = int(said.read_text())
        found += [
            compare(
                f"restore files finds {what} among {count:,}",
                wall(took["ours"]),
                wall(took["raw"]),
                at_most=2,
                beside="restic ls",
            ),
            limit("  its memory", memory, megabytes(memory), at_most=MEMORY, aim="< 300 MB"),
        ]
    return found


def _environment(machine: Machine) -> dict[str, str]:
    """Without a cache for both: opsctl reads a repository on a disk of this machine without one."""
    return environment(
        machine,
        RESTIC_REPOSITORY=str(machine.store),
        RESTIC_CACHE_DIR=str(machine.root / "raw-cache"),
        RESTIC_PASSWORD_FILE=str(machine.etc / "keys" / "repository-password"),
    )


@contextmanager
def _empty_files(place: Path, count: int) -> Iterator[Path]:
    """Empty files, a thousand to a folder, in memory where there is room for them."""
    room = _RAM.is_dir() and os.statvfs(_RAM).f_favail > count * 1.1
    folder = Path(tempfile.mkdtemp(prefix="opsctl-bench-", dir=_RAM if room else place))
    try:
        for number in range(count):
            if number % 1000 == 0:
                inside = folder / f"{number // 1000:04d}"
                inside.mkdir()
            os.close(os.open(inside / f"{number % 1000:03d}", os.O_WRONLY | os.O_CREAT))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def list_all(argv: Sequence[str] | None = None) -> None:
    """In a process of its own: go through a snapshot and write down how many files it has, and our memory."""
    from opsctl.engine.configuration import load_config
    from opsctl.wiring import Site

    directory, snapshot, said = sys.argv[1:] if argv is None else argv
    history = Site(load_config(Path(directory)), clock=lambda: datetime.now(UTC)).history("main")
    history.pinned()
    files = sum(node.type == "file" for node in history.repository.ls(snapshot))
    Path(said).write_text(json.dumps({"files": files, "memory": peak_memory()}))


def call_opsctl() -> None:
    """In a process of its own: run a command line and write down our memory."""
    from opsctl.cli import main

    code = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(peak_memory()))
    sys.exit(code)
