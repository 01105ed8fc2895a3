"""Files of an incident that became something else: a pipe, a socket, a device, a link, or one without an end. Each is named, and nobody waits."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from opsctl.plain_file import open_plain, read_plain, sha256_of
from tests.evidence.test_custody import HAND
from tests.evidence.test_local import OPEN, bag, items
from tests.machine import Kept, Machine
from tests.within import within


def a_socket(path: Path) -> None:
    """Its name may be longer than the address of a socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "it is a pipe"),
    "socket": (a_socket, "it is a socket"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "it is a link"),
    "folder": (lambda path: path.mkdir(), "missing"),
    "endless": (endless, "it is larger than"),
}
if os.geteuid() == 0:
    KINDS["device"] = (lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)), "it is a device")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    machine = Machine(tmp_path_factory.mktemp("plain") / "m")
    machine.configure(f"""
state: {machine.state}
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
evidence: {{profiles: {{own: {{extends: nothing, commands: {{hello: {{argv: [echo, hello], about: A greeting}}}}}}}}}}
""")
    machine.make_key()
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*OPEN, expect=0)
    machine("evidence", "collect", "localhost", "--profile", "own", expect=0)
    machine("evidence", "hand", bag(machine).name, *HAND, expect=0)
    machine("report", "draft", "cert-in", "--incident", "inc-1")
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_that_is_no_plain_file_is_named_and_nobody_waits(made: Kept, kind: str) -> None:
    become, said = KINDS[kind]
    machine = made.again()
    folder = bag(machine)
    for name in (f"data/{items(folder)['own-hello']['file']}", "bagit.txt", "bag-info.txt", "custody.jsonl", "manifest-sha256.txt", "tagmanifest-sha256.txt",
                 "tagmanifest-sha256.txt.sig", "handed-1.json", "handed-1.json.sig"):
        path = folder / name
        path.rename(machine.root / "away")
        become(path)
        with within():
            found = machine.json("evidence", "verify", expect=22)
            told = " / ".join(error["message"] for error in found.errors)
            assert path.name in told or (kind == "folder" and ("hand" in told or "seal" in told)), told
            assert said in told or kind == "folder", (name, told)
            for words in (("evidence", "list"), ("evidence", "hand", folder.name, *HAND), ("evidence", "certificate"), ("incident", "show", "inc-1")):
                machine(*words)
        shutil.rmtree(path) if kind == "folder" else path.unlink()
        (machine.root / "away").rename(path)
    with within():
        machine("evidence", "verify", expect=0)


@pytest.mark.parametrize("kind", KINDS)
def test_drafts_and_packed_incidents_of_others_are_read_without_waiting(made: Kept, kind: str) -> None:
    become, _ = KINDS[kind]
    machine = made.again()
    draft = machine.state / "incidents" / "inc-1" / "reports" / "cert-in-1.en.txt"
    folder = machine.root / "handed"
    with within():
        machine("incident", "export", "inc-1", str(folder), expect=0)
        draft.unlink()
        become(draft)
        shown = machine("report", "list", "--incident", "inc-1").out
        assert "cert-in-1.en.txt changed" in shown or "cert-in-1.en.txt gone" in shown, shown
        machine("report", "sent", "cert-in", "--channel", "phone", "--by", "asha")
        if kind not in ("endless", "folder"):
            assert "cert-in-1.en.txt" in machine("incident", "export", "inc-1", str(machine.root / "again"), expect=3).err
    for name in ("journal/chain.txt", "SHA256SUMS", "SHA256SUMS.sig", "signers"):
        path = folder / name
        path.rename(machine.root / "away")
        become(path)
        if kind != "endless":
            done = subprocess.run([sys.executable, "-I", "check.py"], cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
            told = "SHA256SUMS is not signed" if name == "SHA256SUMS.sig" else f"{name} is missing"
            assert done.returncode == 1 and told in done.stdout, done.stdout + done.stderr
        shutil.rmtree(path) if kind == "folder" else path.unlink()
        (machine.root / "away").rename(path)


def test_a_plain_file_is_read_no_further_than_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_plain(tmp_path / "file", 5) == b"12345"
    for read in (read_plain, sha256_of, open_plain):
        with pytest.raises(OSError, match="larger than 4 bytes"):
            read(tmp_path / "file", 4)
    for path in (Path("/proc/self/maps"), Path("/proc/self/smaps")):  # says that it has 0 bytes, and has more
        with pytest.raises(OSError, match="larger than 10 bytes"):
            read_plain(path, 10)
        with pytest.raises(OSError, match="larger than 10 bytes"):
            sha256_of(path, 10)
