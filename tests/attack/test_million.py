"""A million files that all got another name: signals stay within 1 GiB of memory, restic's included."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.machine import PACKAGE, Machine

#: Files, in folders of a thousand, without content: what is compared is metadata.
MANY = 1_000_000
LIMIT = 1 << 30


def peak(machine: Machine, *words: str) -> int:
    """Run opsctl; the most memory in bytes that it, or anything it started, had at once."""
    code = ("import resource, subprocess, sys; done = subprocess.run([sys.executable, '-m', 'opsctl', *sys.argv[1:]]).returncode; "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr); sys.exit(done)")
    env = {**os.environ, **machine.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-c", code, "--config", str(machine.etc), "--json", *words], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    (machine.root / "said").write_text(done.stdout)
    return int(done.stderr.split()[-1])


def said(machine: Machine) -> dict[str, object]:
    return dict(json.loads((machine.root / "said").read_text())["result"])


@pytest.mark.full
def test_signals_of_a_million_files_stay_within_a_gibibyte(machine: Machine) -> None:
    for folder in range(MANY // 1000):
        place = machine.data / f"ward-{folder}"
        place.mkdir()
        for number in range(1000):
            os.mknod(place / f"scan {number}.jpg")
    assert peak(machine, "backup", "run") < LIMIT
    for folder in range(MANY // 1000):
        place = str(machine.data / f"ward-{folder}")
        for number in range(1000):
            os.rename(f"{place}/scan {number}.jpg", f"{place}/scan {number}.jpg.lokt")
    machine.at("2026-12-15T02:30:00+05:30")
    assert peak(machine, "backup", "run") < LIMIT
    signals = said(machine)["backups"]["portal"]["signals"]  # type: ignore[index]
    assert signals["verdict"] == "suspect" and f"{MANY:,} files got a suffix" in str(signals)
