"""The first report with nothing else working: no repository, no state directory, and no file that can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.protocols.cert_in import protocol
from opsctl.wiring import Site
from tests.badluck.faults import ended, small_disk
from tests.machine import PACKAGE, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma")
ROOT = pytest.mark.as_root("only root can mount what is full or read-only here")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "m")
    machine.state = machine.root / "var" / "state"
    machine.state.parent.mkdir()
    machine.configure(f"state: {machine.state}\norganisation: {{name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}}\n")
    machine.at("2026-12-21T03:00:00+05:30")
    yield machine
    site = Site(load_config(machine.etc), clock=lambda: datetime.now(UTC), environ=machine.environ)
    for place in site.runtime.glob(f"spool-{site.scope}-*"):
        shutil.rmtree(place)


def whole(said: str) -> None:
    for field in protocol().fields:
        assert f"{field.order:2}. {field.label}:" in said
    assert "Portal encrypted. Noticed 21/12/2026 02:30 IST (UTC+05:30) by night operator" in said


def test_without_a_repository_and_a_state_directory_everything_comes(machine: Machine) -> None:
    machine.state.write_text("in the way")
    machine("--break-glass", *OPEN, expect=0)
    said = machine("--break-glass", "report", "draft", "cert-in", expect=0)
    whole(said.out)
    found = machine.json("--break-glass", "report", "draft", "cert-in", expect=0).result
    assert found["draft"] == 2 and all(Path(path).stat().st_size for path in found["files"]) and len(found["files"]) == 8
    machine("--break-glass", "report", "sent", "cert-in", "--channel", "phone", "--by", "Asha", expect=0)


@ROOT
def test_with_a_state_directory_that_can_only_be_read_drafts_go_on_from_what_is_there(machine: Machine) -> None:
    machine(*OPEN, expect=0)
    machine("report", "draft", "cert-in", expect=0)
    subprocess.run(["mount", "--bind", machine.state, machine.state], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", machine.state], check=True)
        whole(machine("report", "draft", "cert-in", expect=3).out)
        said = machine.json("--break-glass", "report", "draft", "cert-in", expect=0)
        whole(said.result["text"])
        assert said.result["draft"] == 2
    finally:
        subprocess.run(["umount", machine.state], check=True)


@ROOT
def test_with_a_full_disk_it_is_shown_and_said(machine: Machine) -> None:
    with small_disk(machine.state, "256k"):
        machine(*OPEN, expect=0)
        with suppress(OSError), (machine.state / "ballast").open("wb") as out:
            while True:
                out.write(bytes(4096))
        said = machine("report", "draft", "cert-in", expect=3)
        whole(said.out)
        assert "no space left" in said.err


@ROOT
def test_where_no_file_can_be_written_opening_shows_the_first_report(machine: Machine) -> None:
    """No later command could know of the incident."""
    machine.state.write_text("in the way")
    script = ('mount -t tmpfs -o size=64k,mode=0700 tmpfs /run/opsctl && { cat /dev/zero > /run/opsctl/ballast; } 2>/dev/null; exec "$@"')
    Path("/run/opsctl").mkdir(mode=0o700, exist_ok=True)
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "opsctl", "--config", str(machine.etc), "--break-glass", *OPEN],
        env={**os.environ, **machine.environ, "PYTHONPATH": str(PACKAGE), "TMPDIR": str(machine.root / "run")}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = ended(process)
    assert done.code == 0, done.err
    whole(done.out)
