"""Evidence of this machine: what ended how, bags that standard tools can check, and every change named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opsctl.engine.runtime_directory import runtime_directory, spool_file, spools
from tests.machine import Kept, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    machine = Machine(tmp_path_factory.mktemp("evidence") / "m")
    machine.configure(f"state: {machine.state}\norganisation: {{name: Urban Development, timezone: Asia/Kolkata}}\n")
    machine.make_key()
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*OPEN, expect=0)
    said = machine.json("evidence", "collect", "localhost")
    assert said.code in (0, 3), said.err
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def bag(machine: Machine) -> Path:
    (found,) = (machine.state / "incidents" / "inc-1" / "evidence").iterdir()
    return found


def items(folder: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "custody.jsonl").read_text().splitlines()]
    return {one["name"]: one for one in lines if "outcome" in one}


def test_what_only_memory_holds_comes_first_and_every_item_ends_with_a_reason(machine: Machine) -> None:
    found = items(bag(machine))
    assert [*found][:5] == ["clock", "processes", "process-links", "open-files", "sockets"]
    assert found["processes"]["outcome"] == "collected" and str(os.getpid()) in (bag(machine) / "data" / str(found["processes"]["file"])).read_text()
    for one in found.values():
        assert one["outcome"] in ("collected", "missing", "empty", "failed") and (one["because"] or one["outcome"] == "collected")
        assert (one["outcome"] == "collected") == bool(one["file"])
        assert one["collected_at"].startswith("2026-12-21T03:00") and one["collected_by"] and one["method_and_tool"]  # type: ignore[union-attr]


def test_standard_tools_check_the_same_bag(machine: Machine, tmp_path: Path) -> None:
    folder = bag(machine)
    subprocess.run([sys.executable, "-m", "bagit", "--validate", folder], check=True, capture_output=True)
    for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--strict", "--quiet", "-c", name], cwd=folder, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"controller {(machine.etc / 'keys' / 'controller.pub').read_text()}")
    with (folder / "tagmanifest-sha256.txt").open("rb") as signed:
        subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "controller", "-n", "evidence@opsctl",
                        "-s", folder / "tagmanifest-sha256.txt.sig"], stdin=signed, check=True, capture_output=True)


def test_the_incident_knows_what_was_collected_and_sealed(machine: Machine) -> None:
    shown = machine.json("incident", "show", "inc-1", expect=0).result["records"]
    (collected,), (sealed,) = shown["collected"], shown["sealed"]
    assert collected["bag"] == sealed["bag"] == bag(machine).name and collected["manifest_sha256"] == sealed["manifest_sha256"]
    assert machine("evidence", "verify", expect=0).out.strip() == f"{bag(machine).name}: as it was sealed"
    assert "sealed" in machine("evidence", "list", expect=0).out


@pytest.mark.parametrize("attack", ["changed", "missing", "added", "beside", "renamed", "custody", "seal", "manifests", "gone"])
def test_verify_names_whatever_is_not_as_it_was_sealed(machine: Machine, attack: str) -> None:
    folder = bag(machine)
    file = folder / "data" / str(items(folder)["processes"]["file"])
    if attack == "changed":
        file.chmod(0o600)
        file.write_bytes(file.read_bytes().replace(b"ps", b"sp", 1))
        said = f"data/{file.name} was changed"
    elif attack == "missing":
        file.unlink()
        said = f"data/{file.name} is missing"
    elif attack == "added":
        (folder / "data" / "x\n\x1b[31m").write_text("planted")
        said = r"data/x\n\x1b[31m was added"
    elif attack == "beside":
        (folder / "handed-over.exe").write_text("planted, under a name like those of hand-overs")
        said = "handed-over.exe was added"
    elif attack == "renamed":
        file.rename(file.with_name("other.txt"))
        said = f"data/{file.name} was renamed: it is data/other.txt now"
    elif attack == "custody":
        path = folder / "custody.jsonl"
        path.chmod(0o600)
        path.write_text(path.read_text().replace('"collected_by":"', '"collected_by":"not ', 1))
        said = "the custody record was altered"
    elif attack == "seal":
        (folder / "tagmanifest-sha256.txt.sig").unlink()
        said = "its seal is missing"
    elif attack == "manifests":  # everything made to fit, and sealed anew with another key
        other = machine.root / "other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True, stdin=subprocess.DEVNULL)
        file.chmod(0o600)
        file.write_text("nothing to see")
        for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            lines = [line.split("  ", 1)[1] for line in (folder / name).read_text().splitlines()]
            done = subprocess.run(["sha256sum", *lines], cwd=folder, check=True, capture_output=True)
            (folder / name).chmod(0o600)
            (folder / name).write_bytes(done.stdout)
        (folder / "tagmanifest-sha256.txt.sig").unlink()
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", other, "-n", "evidence@opsctl", "tagmanifest-sha256.txt"], cwd=folder, check=True)
        said = "is not one of ours"
    else:
        shutil.rmtree(folder)
        said = "is not there any more"
    found = machine("evidence", "verify", expect=22)
    assert said in found.err, found.err
    if attack == "manifests":
        assert "is not the one that was collected" in found.err


def test_without_the_state_directory_it_goes_to_the_spool_and_comes_back_with_the_journal(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "asha", "-f", machine.root / "asha"], check=True, stdin=subprocess.DEVNULL)
    machine.configure(f"state: {machine.state}\npeople: {{asha: {{name: Asha, ssh_key: '{(machine.root / 'asha.pub').read_text().strip()}'}}}}\n"
                      "evidence: {free: 0B, profiles: {own: {extends: nothing, commands: {hello: {argv: [echo, hello], about: A greeting}}}}}\n")
    machine.make_key()
    machine.at("2026-12-21T03:00:00+05:30")
    machine.state.write_text("was a directory\n")
    machine("--break-glass", *OPEN, expect=0)
    said = machine("--break-glass", "evidence", "collect", "localhost", "--profile", "own", expect=0)
    assert "a restart of this machine loses" in said.out
    machine("--break-glass", "evidence", "verify", expect=0)
    (spool,) = spools(runtime_directory(os.geteuid(), machine.environ), hashlib.sha256(str(machine.state.absolute()).encode()).hexdigest()[:8])
    try:
        machine.state.unlink()
        machine("journal", "adopt", str(spool_file(spool)), "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    finally:
        shutil.rmtree(spool)
    assert bag(machine).name.endswith("-1") and "as it was sealed" in machine("evidence", "verify", expect=0).out
