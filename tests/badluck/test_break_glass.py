"""Break-glass: the state directory is full, read-only, gone or scrambled, and work goes on with its journal elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.configuration import load_config
from opsctl.engine.journal import Journal
from opsctl.wiring import Site
from tests.badluck.faults import LIMIT, ended, processes, small_disk, until
from tests.machine import PACKAGE, Machine

PLAYBOOK = """
name: work
title: work
steps:
  - {id: first, uses: command, with: {argv: [sh, -c, "echo first >> DIARY"]}}
  - {id: second, uses: command, with: {argv: [sh, -c, "test ! -e HANG || exec sleep 600; echo second >> DIARY"]}, on_unknown: repeat}
"""
NEEDED = "--break-glass"


@pytest.fixture
def site(machine: Machine) -> Iterator[Machine]:
    """A machine with a playbook that needs no store, whose state lies below a folder of its own; no spool is left behind."""
    for name in ("asha", "imran"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(machine.root / name)],
                       check=True, stdin=subprocess.DEVNULL)
    (machine.root / "var").mkdir()
    machine.state.rename(machine.root / "var" / "state")
    machine.state = machine.root / "var" / "state"
    machine.configure(more="people:\n" + "".join(
        f"  {name}: {{name: {name}, roles: [x], ssh_key: {(machine.root / f'{name}.pub').read_text().strip()}}}\n"
        for name in ("asha", "imran")))
    (machine.etc / "playbooks").mkdir()
    (machine.etc / "playbooks" / "work.yaml").write_text(
        PLAYBOOK.replace("DIARY", str(machine.root / "diary")).replace("HANG", str(machine.root / "hang")))
    yield machine
    for place in spools(machine):
        shutil.rmtree(place)


def spools(machine: Machine) -> list[Path]:
    found = made(machine)
    return sorted(found.locks.directory.glob(f"spool-{found.scope}-*"))


def made(machine: Machine) -> Site:
    return Site(load_config(machine.etc), clock=lambda: datetime.now(UTC), environ=machine.environ)


def spool(machine: Machine) -> Path:
    """The file of the only spool."""
    (place,) = spools(machine)
    return place / "journal" / "000001.jsonl"


def types(path: Path) -> list[str]:
    return [json.loads(line)["type"] for line in path.read_text().splitlines()]


def diary(machine: Machine) -> list[str]:
    path = machine.root / "diary"
    return path.read_text().split() if path.exists() else []


# The faults


@contextlib.contextmanager
def full(machine: Machine) -> Iterator[None]:
    with small_disk(machine.root / "disk", "1M") as disk:
        shutil.copytree(machine.state, disk / "state")
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        machine.state.rename(machine.root / "aside")
        machine.state.symlink_to(disk / "state")
        yield
        machine.state.unlink()
        (machine.root / "aside").rename(machine.state)


@contextlib.contextmanager
def read_only(machine: Machine) -> Iterator[None]:
    with mounted_read_only(machine.state):
        yield


@contextlib.contextmanager
def gone(machine: Machine) -> Iterator[None]:
    """The folder was removed, and the one that it lay in cannot be written."""
    machine.state.rename(machine.root / "aside")
    with mounted_read_only(machine.state.parent):
        yield
    (machine.root / "aside").rename(machine.state)


@contextlib.contextmanager
def a_file(machine: Machine) -> Iterator[None]:
    machine.state.rename(machine.root / "aside")
    machine.state.write_text("was a directory\n")
    yield
    machine.state.unlink()
    (machine.root / "aside").rename(machine.state)


@contextlib.contextmanager
def scrambled(machine: Machine) -> Iterator[None]:
    """As ransomware leaves it: every file is there, and none is what it was."""
    shutil.copytree(machine.state, machine.root / "aside")
    for path in machine.state.rglob("*"):
        if path.is_file():
            path.write_bytes(random.Random(1).randbytes(max(64, path.stat().st_size)))
    yield
    shutil.rmtree(machine.state)
    (machine.root / "aside").rename(machine.state)


@contextlib.contextmanager
def mounted_read_only(place: Path) -> Iterator[None]:
    for words in (["--bind", str(place), str(place)], ["-o", "remount,bind,ro", str(place)]):
        done = subprocess.run(["mount", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT)
        if done.returncode:
            pytest.skip(f"this root may not mount what is read-only here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, stdin=subprocess.DEVNULL, timeout=LIMIT)


ROOT = pytest.mark.as_root("only root can mount what is full or read-only here")
FAULTS = [pytest.param(full, marks=ROOT), pytest.param(read_only, marks=ROOT), pytest.param(gone, marks=ROOT), a_file, scrambled]


# What works, and what is said


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_whose_state_cannot_be_used(site: Machine, fault: Any) -> None:
    with fault(site):
        refused = site.json("run", "work")
        assert refused.code in (20, 22) and NEEDED in refused.errors[0]["hint"], refused
        assert diary(site) == [] and spools(site) == []

        said = site("run", "work", "--break-glass", expect=0)
        assert diary(site) == ["first", "second"]
        (line,) = [line for line in said.err.splitlines() if "BREAK-GLASS" in line]
        assert str(spool(site)) in line and "opsctl journal adopt" in line
        assert types(spool(site)) == ["run.bound", "step.begin", "step.end", "step.begin", "step.end", "run.end"]
        run = site.json("--break-glass", "runs", expect=0).result["runs"][0]["run"]
        assert site.json("show", run, "--break-glass", expect=0).result["state"] == "ended"
        assert site.json("journal", "verify", "--offline", "--break-glass", expect=0).result["lines"] == 6
        assert (spools(site)[0] / "runs" / run / "plan.json").exists() and not (site.state / "runs" / run).exists()
        assert [path.stat().st_mode & 0o077 for path in spools(site)[0].rglob("*")] == [0] * len(list(spools(site)[0].rglob("*")))
    assert site.json("run", "work").code == 0
    assert len(spools(site)) == 1 and len(types(spool(site))) == 6, "a state that can be used is used"


@ROOT
@pytest.mark.parametrize("fault", [full, gone])
def test_a_run_that_is_killed_goes_on_in_the_spool(site: Machine, fault: Any) -> None:
    (site.root / "hang").touch()
    with fault(site):
        with site.start("--break-glass", "run", "work") as process:
            try:
                until(lambda: spools(site) and spool(site).exists() and '"step":"second"' in spool(site).read_text(), "the second step")
            finally:
                process.kill()
            process.communicate(timeout=LIMIT)
        until(lambda: not processes(site), "the end of all processes")
        with spool(site).open("ab") as file:
            file.write(b'{"data":{"step":"seco')  # what a line looks like that was being written
        (site.root / "hang").unlink()
        run = site.json("--break-glass", "runs", expect=0).result["runs"][0]["run"]
        assert site.json("show", run, "--break-glass", expect=0).result["state"] == "interrupted"
        said = site("resume", run, "--break-glass", expect=0)
        assert diary(site) == ["first", "second"], "what was done is not done again"
        assert "cut short by a crash" in said.err
        assert site.json("journal", "verify", "--offline", "--break-glass", expect=0).result["problems"] == []


def test_a_run_that_is_stopped_names_the_way_on(site: Machine) -> None:
    (site.root / "hang").touch()
    with a_file(site), site.start("--break-glass", "run", "work") as process:
        until(lambda: spools(site) and spool(site).exists() and '"step":"second"' in spool(site).read_text(), "the second step")
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.code == 143
    assert done.err.endswith(f"opsctl: interrupted; `opsctl resume {json.loads(spool(site).read_text().splitlines()[0])['run']} "
                             "--break-glass` goes on\n")


@ROOT
def test_a_run_that_the_disk_filled_up_under_goes_on_elsewhere(site: Machine) -> None:
    (site.root / "hang").touch()
    with site.start("run", "work") as process:
        until(lambda: diary(site) == ["first"], "the first step")
        until(lambda: b'"step":"second"' in (site.state / "journal" / "000001.jsonl").read_bytes(), "the second step")
        process.kill()
        process.communicate(timeout=LIMIT)
    until(lambda: not processes(site), "the end of all processes")
    (site.root / "hang").unlink()
    run = site.json("runs", expect=0).result["runs"][0]["run"]
    with full(site):
        assert site.json("resume", run).code == 20
        assert "done before: first" in site("--dry-run", "resume", run, "--break-glass", expect=0).out and spools(site) == []
        site("resume", run, "--break-glass", expect=0)
        assert diary(site) == ["first", "second"]
    refused = site.json("resume", run, expect=23)
    assert "went on with --break-glass" in refused.errors[0]["message"] and "journal adopt" in refused.errors[0]["hint"]
    site("resume", run, "--break-glass", expect=0)
    assert diary(site) == ["first", "second"]


def test_backups_are_restored_and_verified_without_the_state_directory(site: Machine, tmp_path: Path) -> None:
    (site.data / "paper").write_text("words")
    site("backup", "run", expect=0)
    with a_file(site):
        site("verify", "--break-glass", expect=0)
        site("--break-glass", "restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
        assert [path.read_text() for path in (tmp_path / "back").rglob("paper")] == ["words"]
        assert site.json("--break-glass", "backup", "run", "--force").code == 23, "no repository is pinned anew on the way"


def test_a_run_that_cannot_be_found_for_want_of_the_state_says_so(site: Machine) -> None:
    run = site.json("runs", expect=0).result["runs"][0]["run"]
    with a_file(site):
        for words in (["resume", run], ["show", run], ["done", run, "first", "--by", "asha"]):
            assert NEEDED in site.json(*words, expect=20).errors[0]["hint"]
        assert "no run" in site.json("--break-glass", "resume", run).errors[0]["message"]


def test_with_a_state_that_can_be_used_everything_is_as_ever(site: Machine) -> None:
    said = site("run", "work", "--break-glass", expect=0)
    assert "BREAK-GLASS" not in said.err and spools(site) == []
    assert site.json("runs", expect=0).result["runs"][0]["state"] == "ended"


def test_a_dry_run_writes_nothing(site: Machine) -> None:
    with a_file(site):
        site("run", "work", "--dry-run", "--break-glass", expect=0)
        site("run", "work", "--dry-run", expect=0)
        assert spools(site) == [] and diary(site) == []


def test_locks_and_approvals_stand(site: Machine) -> None:
    (site.etc / "playbooks" / "gate.yaml").write_text(
        "name: gate\ntitle: gate\nsteps:\n  - {id: ask, uses: person, with: {say: pull the plug}}\n"
        f"  - {{id: then, uses: command, with: {{argv: [touch, {site.root}/then]}}}}\n")
    with a_file(site):
        run = site.json("--break-glass", "--yes", "run", "gate", expect=4).document["run"]
        assert not (site.root / "then").exists(), "--break-glass approves nothing, and --yes neither"
        site("done", run, "ask", "--break-glass", "--by", "asha", "--key", str(site.root / "imran"), expect=12)
        site("done", run, "ask", "--break-glass", "--by", "asha", "--key", str(site.root / "asha"), expect=0)
        with made(site).locks.hold(f"run-{run}", run=run, purpose="somebody else"):
            assert site.json("--break-glass", "resume", run, expect=11).errors[0]["message"]
        site("--break-glass", "resume", run, expect=0)
        assert (site.root / "then").exists()


def test_a_word_that_needs_the_state_is_refused(site: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsctl.actions.command import Command

    monkeypatch.setattr(Command, "break_glass", False)
    for words in (["run", "work", "--break-glass"], ["--break-glass", "--dry-run", "run", "work"]):
        refused = site.json(*words, expect=23)
        assert "command is not done with --break-glass" in refused.errors[0]["message"]
    assert diary(site) == [] and spools(site) == []


def test_the_document_says_it_too(site: Machine) -> None:
    with a_file(site):
        said = site.json("--break-glass", "run", "work", expect=0)
        assert any("BREAK-GLASS" in line and str(spool(site)) in line for line in said.document["warnings"])
        assert "BREAK-GLASS" in said.err


@ROOT
def test_where_no_file_can_be_written_the_journal_is_said(site: Machine) -> None:
    """The runtime directory is full as well: locks can still be taken there, and nothing can be written."""
    run_directory = Path("/run/opsctl")
    run_directory.mkdir(mode=0o700, exist_ok=True)
    with a_file(site):
        words = " ".join(["--break-glass", "run", "work"])
        script = (f"mount -t tmpfs -o size=64k,mode=0700 tmpfs {run_directory} && "
                  f"{{ cat /dev/zero > {run_directory}/ballast; }} 2>/dev/null; exec \"$@\" {words}")
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", *command(site)], env=environment(site), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        done = ended(process)
    assert done.code == 0, done.err
    assert diary(site) == ["first", "second"] and spools(site) == []
    said = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [line["type"] for line in said] == ["run.bound", "step.begin", "step.end", "step.begin", "step.end", "run.end"]
    (loud,) = [line for line in done.err.splitlines() if "BREAK-GLASS" in line]
    place = Path(loud.partition("The plan lies in ")[2].partition(",")[0])
    assert (place / "runs" / said[0]["run"] / "result.json").exists()
    shutil.rmtree(place)


def command(machine: Machine) -> list[str]:
    return [sys.executable, "-m", "opsctl", "--config", str(machine.etc)]


def environment(machine: Machine) -> dict[str, str]:
    return {**os.environ, **machine.environ, "PYTHONPATH": str(PACKAGE)}


# Taking it in


@pytest.fixture
def spooled(site: Machine) -> str:
    """The id of a run whose journal lies in a spool, while the state directory can be used again."""
    with a_file(site):
        return str(site.json("--break-glass", "run", "work", expect=0).document["run"])


def adopt(machine: Machine, *more: str, expect: int, file: Path | None = None, key: str = "asha") -> Any:
    return machine.json("journal", "adopt", str(file or spool(machine)), "--by", "asha", "--key", str(machine.root / key), *more,
                        expect=expect)


def adopted(machine: Machine) -> Path:
    """The file of the only spool that was taken in."""
    (found,) = (machine.state / "journal" / "adopted").glob("*/000001.jsonl")
    return found


def test_a_spool_is_taken_in_and_its_run_is_one_like_others(site: Machine, spooled: str) -> None:
    before = len(site.json("journal", "show", "--limit", "0", expect=0).result["lines"])
    noted = site.json("status").document["warnings"]
    assert any(str(spool(site)) in line and "journal adopt" in line for line in noted), "nobody forgets it"
    assert site.json("resume", spooled, expect=23).errors[0]["hint"].startswith("`opsctl journal adopt")
    assert adopt(site, "--dry-run", expect=0).result["adopted"] is False

    said = adopt(site, expect=0)
    assert said.result["runs"] == [spooled] and said.result["lines"] == 6
    lines = site.json("journal", "show", "--limit", "0", expect=0).result["lines"]
    assert [line["type"] for line in lines[before:]] == ["journal.adopted", *types(adopted(site))]
    assert len({line["seq"] for line in lines[before:]}) == 1
    assert site.json("runs", expect=0).result["runs"][0] | {"started": 0, "by": 0} == {
        "run": spooled, "playbook": "work", "started": 0, "by": 0, "state": "ended", "exit_code": 0}
    assert [step["outcome"] for step in site.json("show", spooled, expect=0).result["steps"]] == ["changed", "changed"]
    site("resume", spooled, expect=0)
    assert diary(site) == ["first", "second"], "what was done while the glass was broken is not done again"
    verdict = site.json("journal", "verify", "--offline", expect=0).result
    assert verdict["adopted"] == [lines[before]["seq"]]
    assert not any("journal adopt" in line for line in site.json("status").document["warnings"])


def test_a_spool_is_taken_in_once(site: Machine, spooled: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    shutil.copy(spool(site), copy)
    assert "is a copy of a spool that lies here" in adopt(site, file=copy, expect=23).errors[0]["message"]
    adopt(site, expect=0)
    for file in (None, copy):
        again = adopt(site, file=file, expect=23).errors[0]
        assert "was adopted at 2026-12-1" in again["message"] and "by asha" in again["message"]
    with a_file(site):
        site.json("--break-glass", "run", "work", expect=0)
    assert len(spools(site)) == 2, "what comes later goes to a spool of its own"
    adopt(site, file=spools(site)[1] / "journal" / "000001.jsonl", expect=0)
    site("journal", "verify", "--offline", expect=0)


def test_a_longer_copy_adds_only_what_is_new(site: Machine, spooled: str, tmp_path: Path) -> None:
    """A spool of another machine, carried here twice."""
    place = spools(site)[0]
    whole, early = spool(site).read_bytes(), tmp_path / "early.jsonl"
    early.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    (tmp_path / "late.jsonl").write_bytes(whole)
    shutil.move(place, tmp_path / "elsewhere")
    adopt(site, file=early, expect=0)
    assert adopt(site, file=tmp_path / "late.jsonl", expect=0).result["statement"]["after"] == 3
    lines = site.json("journal", "show", "--run", spooled, "--limit", "0", expect=0).result["lines"]
    assert [line["type"] for line in lines] == [json.loads(line)["type"] for line in whole.splitlines()]
    adopt(site, file=early, expect=23)
    site("journal", "verify", "--offline", expect=0)


@pytest.mark.parametrize(("edit", "line"), [
    (lambda lines: [*lines[:2], lines[2].replace(b"happened", b"HAPPENED"), *lines[3:]], 3),
    (lambda lines: [*lines[:2], *lines[3:]], 3),
    (lambda lines: [*lines[:-1], lines[-1].replace(b'"exit_code":0', b'"exit_code":3')], 6),
    (lambda lines: [*lines[:-1], lines[-1].replace(b'"v":1', b'"v":')], 6),
    (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
])
def test_a_spool_that_was_edited_is_named_with_its_line(site: Machine, spooled: str, edit: Any, line: int) -> None:
    true = spool(site).read_bytes()
    spool(site).write_bytes(b"".join(edit(true.splitlines(keepends=True))))
    refused = adopt(site, expect=22)
    assert refused.errors[0]["where"] == f"{spool(site)}:{line}", refused.errors
    assert not (site.state / "journal" / "adopted").exists()
    spool(site).write_bytes(true)

    adopt(site, expect=0)
    adopted(site).write_bytes(b"".join(edit(true.splitlines(keepends=True))))
    found = site.json("journal", "verify", "--offline", expect=22).result["problems"]
    assert (f"adopted/{adopted(site).parent.name}/000001.jsonl", line) in [(one["file"], one["line"]) for one in found], found


def test_a_rewritten_spool_and_a_missing_one_are_found(site: Machine, spooled: str, tmp_path: Path) -> None:
    adopt(site, expect=0)
    true = adopted(site).read_bytes()
    with Journal(tmp_path / "forged", lambda: datetime.now(UTC)) as forged:
        for one in map(json.loads, true.splitlines()):
            forged.append(one["type"], {**one["data"], "by": "nobody"}, run=one["run"])
    shutil.copy(tmp_path / "forged" / "000001.jsonl", adopted(site))
    shutil.copy(tmp_path / "forged" / "HEAD", adopted(site).parent / "HEAD")
    assert "took it in" in site.json("journal", "verify", "--offline", expect=22).result["problems"][0]["message"]
    shutil.rmtree(adopted(site).parent)
    assert "is missing" in site.json("journal", "verify", "--offline", expect=22).result["problems"][0]["message"]


def test_who_takes_it_in_signs(site: Machine, spooled: str) -> None:
    adopt(site, expect=12, key="imran")
    site("journal", "adopt", str(spool(site)), "--by", "nobody", expect=2)
    site("journal", "adopt", str(site.root / "nothing"), "--by", "asha", expect=2)
    site("--break-glass", "journal", "adopt", str(spool(site)), "--by", "asha", expect=2)
    adopt(site, expect=0)
    journal = site.state / "journal"
    line = json.loads(journal.joinpath("000001.jsonl").read_bytes().splitlines()[-1])
    forged = json.loads(json.dumps(line["data"]).replace('"by": "asha"', '"by": "imran"'))
    with Journal(journal, lambda: datetime.now(UTC)) as writer:  # whoever owns this machine can write lines, and not sign them
        writer.append("journal.adopted", forged)
    problems = site.json("journal", "verify", "--offline", expect=22).result["problems"]
    assert [("signature of imran" in one["message"], one["seq"]) for one in problems] == [(True, line["seq"] + 1)]


def test_a_torn_last_line_is_left_out_and_said(site: Machine, spooled: str) -> None:
    with spool(site).open("ab") as file:
        file.write(b'{"data":{"step":"third"},"ha')
    said = site("journal", "adopt", str(spool(site)), "--by", "asha", "--key", str(site.root / "asha"), expect=0)
    assert "cut short by a crash" in said.out
    line = json.loads((site.state / "journal" / "000001.jsonl").read_bytes().splitlines()[-1])
    assert line["data"]["torn"] == '{"data":{"step":"third"},"ha'
    site("journal", "verify", "--offline", expect=0)


def test_what_was_said_on_standard_error_can_be_taken_in(site: Machine, spooled: str, tmp_path: Path) -> None:
    lines = spool(site).read_text().splitlines(keepends=True)
    shutil.rmtree(spools(site)[0])
    kept = tmp_path / "stderr"
    kept.write_text("opsctl: BREAK-GLASS: …\n" + "".join(lines[:4]) + "opsctl: warning: a\n" + "".join(lines[4:]))
    assert adopt(site, file=kept, expect=0).result["others"] == 2
    site("journal", "verify", "--offline", expect=0)


def test_a_run_at_work_is_not_taken_in(site: Machine, spooled: str) -> None:
    with made(site).locks.hold(f"run-{spooled}", run=spooled, purpose="somebody"):
        assert "is still at work" in adopt(site, expect=11).errors[0]["message"]
