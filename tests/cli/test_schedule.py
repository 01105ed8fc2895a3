"""``backup schedule``: installed whole or not at all, found by doctor, and fired by a real cron."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from opsctl.cli.schedule import program
from tests.lab import cron
from tests.machine import Machine, tree

START = datetime.fromisoformat("2026-12-12T02:44:00+05:30")
as_root = pytest.mark.as_root("mount namespaces and cron need root")


def install(machine: Machine, kind: str, expect: int = 0) -> Path:
    """The schedule installed below a folder; the folder."""
    place = machine.root / "machine"
    machine("backup", "schedule", kind, "--write", "--into", str(place), expect=expect)
    return place


def line_of(place: Path, asks: str = "backup run --due;") -> tuple[Path, str]:
    """The file for cron, and the command of its line that asks this, as cron hands it to the shell."""
    file, = (place / "etc/cron.d").iterdir()
    line, = (line for line in file.read_text().splitlines() if asks in line)
    return file, line.split(" ", 6)[6].replace("\\%", "%")


def cron_environment(file: Path) -> dict[str, str]:
    told = dict(line.split("=", 1) for line in file.read_text().splitlines() if line[:5] in ("SHELL", "PATH=", "LANG="))
    assert set(told) == {"SHELL", "PATH", "LANG"}
    return {**cron.ENVIRONMENT, **told}


@pytest.mark.parametrize("kind", ["--systemd", "--cron"])
def test_what_is_shown_is_what_is_installed_and_the_second_time_nothing_is_done(machine: Machine, kind: str) -> None:
    place = machine.root / "machine"
    shown = machine.json("backup", "schedule", kind, expect=0).result["files"]
    assert not place.exists()
    words = ("backup", "schedule", kind, "--write", "--into", str(place))
    planned = machine.json("--dry-run", *words, expect=0).result["outcomes"]
    assert planned == {"planned": 1} and not place.exists()
    first = machine.json(*words, expect=0).result
    assert first["outcomes"] == {"changed": 1}
    found = {f"/{path}": content.decode() for path, content in tree(place).items()}
    assert found == shown
    assert machine.json(*words, expect=0).result["outcomes"] == {"ok": 1}
    for path in shown:
        assert (place / path[1:]).stat().st_mode & 0o7777 == 0o644
    # What was bent is put right, and nothing else.
    bent = place / sorted(shown)[0][1:]
    bent.write_text(bent.read_text() + "# changed\n")
    assert machine.json(*words, expect=0).result["outcomes"] == {"changed": 1}
    assert {f"/{path}": content.decode() for path, content in tree(place).items()} == shown
    links = sorted(path.name for path in place.rglob("*.wants/*"))
    assert [name.rpartition("-")[0] for name in links] == (["opsctl-backup", "opsctl-drill", "opsctl-verify"] if kind == "--systemd" else [])


@pytest.mark.parametrize("kind", ["--systemd", "--cron"])
def test_showing_says_that_nothing_was_installed(machine: Machine, kind: str) -> None:
    said = machine("backup", "schedule", kind, expect=0)
    assert f"nothing was installed: `opsctl backup schedule {kind} --write` puts it there" in said.out
    assert "on this machine now: nothing asks every hour what is due" in said.out


def test_of_the_other_kind_nothing_of_ours_is_left(machine: Machine) -> None:
    place = install(machine, "--cron")
    other = place / "etc/cron.d/mine"
    other.write_text("# a person's own\n")
    install(machine, "--systemd")
    assert [path.name for path in (place / "etc/cron.d").iterdir()] == ["mine"]
    install(machine, "--cron")
    assert not [path for path in place.rglob("opsctl-*") if "systemd" in path.parts]


@pytest.mark.parametrize("kind", ["--systemd", "--cron"])
def test_what_a_person_wrote_is_never_replaced(machine: Machine, kind: str) -> None:
    shown = machine.json("backup", "schedule", kind, expect=0).result["files"]
    place = machine.root / "machine"
    own = place / sorted(shown)[-1][1:]
    own.parent.mkdir(parents=True)
    own.write_text("# a person's own\n")
    install(machine, kind, expect=23)
    assert tree(place) == {str(own.relative_to(place)): b"# a person's own\n"}


def test_a_masked_timer_stays_masked(machine: Machine) -> None:
    place = install(machine, "--systemd")
    timer = next(place.rglob("opsctl-backup*.timer"))
    timer.unlink()
    timer.symlink_to("/dev/null")
    said = machine("backup", "schedule", "--systemd", "--write", "--into", str(place), expect=23)
    assert "masked" in said.err and os.readlink(timer) == "/dev/null"


def test_whole_or_not_at_all(machine: Machine) -> None:
    place = machine.root / "machine"
    (place / "etc").mkdir(parents=True)
    (place / "etc/cron.d").write_text("no folder\n")
    install(machine, "--cron", expect=20)
    assert tree(place) == {"etc/cron.d": b"no folder\n"}


def test_units_that_systemd_cannot_read_are_not_installed(machine: Machine) -> None:
    place = machine.root / "machine"
    said = machine("run", "schedule", "--set", "kind=systemd", "--set", "program=/nowhere/opsctl", "--set", f"into={place}",
                   expect=20)
    assert "/nowhere/opsctl is not executable" in said.err and not place.exists()


@pytest.mark.parametrize("words", [("--systemd",), ("--cron", "--write")])
def test_without_a_backup_there_is_nothing_to_schedule(machine: Machine, words: tuple[str, ...]) -> None:
    machine.configure(f"state: {machine.state}\n")
    place = machine.root / "machine"
    said = machine("backup", "schedule", *words, "--into", str(place), expect=10)
    assert "no backup" in said.err and not place.exists()


def test_a_secret_in_a_variable_is_warned_of(machine: Machine) -> None:
    text = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(text.replace(f"password_file: {machine.etc}/keys/repository-password", "password_env: MY_SECRET"))
    said = machine("backup", "schedule", "--systemd", expect=0)
    assert "a timer does not have the variable MY_SECRET" in said.err


def test_the_program_is_the_one_that_runs_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "releases" / "opsctl"
    real.parent.mkdir()
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    link = tmp_path / "opsctl"
    link.symlink_to(real)
    assert program(str(link), "/usr/bin/python3") == (str(link),)
    assert program("/usr/lib/pytest/__main__.py", str(real.with_name("python"))) == (str(real),)
    argv = program("-c", str(tmp_path / "nowhere" / "python"))
    assert argv[-2:] == ("-m", "opsctl")


@as_root
def test_one_real_tick_of_a_real_cron(machine: Machine) -> None:
    """cron reads the file as it was installed; only its minute is made every one, so that the test need not wait an hour."""
    (machine.data / "file.txt").write_text("content\n")
    place = install(machine, "--cron")
    file, _ = line_of(place)
    file.write_text("\n".join("* * * * *" + line[line.index(" root "):] if "backup run --due;" in line else line
                              for line in file.read_text().splitlines()) + "\n")
    stamp = machine.state / "due.json"
    deadline = time.monotonic() + 180
    logs = place / "var/log/opsctl"
    with cron.cron(place) as running:
        # The line is printed after the stamp is written.
        while not any("is whole and signed" in log.read_text() for log in logs.glob("backup-*.log")):
            assert running.poll() is None and time.monotonic() < deadline, (place / "cron.said").read_text()
            time.sleep(0.1)
    assert json.loads(stamp.read_text())["exit_code"] == 0
    log, = (place / "var/log/opsctl").glob("backup-*.log")
    first, *rest = log.read_text().splitlines()
    datetime.strptime(first, "%Y-%m-%dT%H:%M:%SZ")
    assert any("is whole and signed" in line for line in rest)
    del machine.environ["OPSCTL_CLOCK"]
    found = machine.json("backup", "list", expect=0).result["sets"]
    assert [one["state"] for one in found] == ["good"]
    # The log is turned over by the rule that was installed with it, and doctor sees line and tick.
    rule, = (place / "etc/logrotate.d").iterdir()
    turned = cron.inside(place, ["/usr/sbin/logrotate", "--force", "--state", "/run/state", str(rule)], cron.ENVIRONMENT)
    assert (turned.returncode, turned.stderr) == (0, "")
    assert Path(f"{log}.1").read_text().splitlines()[0] == first and log.read_text() == ""
    words = json.loads(cron.inside(place, [*program("pytest", sys.executable), "--config", str(machine.etc), "--json", "doctor"],
                                   {**cron.ENVIRONMENT, "PATH": os.environ["PATH"]}).stdout)
    check, = (one for one in words["result"]["checks"] if one["name"] == "schedule")
    assert check["ok"] and f"/etc/cron.d/{file.name}: asked" in check["detail"] and "ended with 0" in check["detail"]


@as_root
def test_the_same_line_by_a_set_clock_makes_sets_exactly_three_days_apart(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    place = install(machine, "--cron")
    file, command = line_of(place)
    for hours in (0, 1, 30, 71, 72, 73, 143, 144, 145, 215, 216):
        moment = START + timedelta(hours=hours)
        done = cron.inside(place, ["/bin/sh", "-c", command],
                           {**cron_environment(file), "OPSCTL_CLOCK": moment.isoformat()})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    machine.at((START + timedelta(hours=217)).isoformat())
    times = [datetime.fromisoformat(one["time"]) for one in machine.json("backup", "list", expect=0).result["sets"]]
    assert times[0] == START and len(times) == 4
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=3)}
    # What goes wrong ends the line with its own code, and cron has one line to mail.
    (machine.etc / "keys/controller").rename(machine.etc / "keys/elsewhere")
    done = cron.inside(place, ["/bin/sh", "-c", command],
                       {**cron_environment(file), "OPSCTL_CLOCK": (START + timedelta(hours=290)).isoformat()})
    log, = (place / "var/log/opsctl").glob("backup-*.log")
    assert done.returncode == 12
    assert done.stdout == f"opsctl backup run --due ended with exit code 12, see /var/log/opsctl/{log.name}\n"
    assert "there is no signing key" in log.read_text()
    assert json.loads((machine.state / "due.json").read_text())["exit_code"] == 12


@as_root
def test_drills_happen_by_their_nightly_line(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, verify: {drill: 30d}}"))
    place = install(machine, "--cron")
    file, command = line_of(place, "verify --level drill --due;")
    hour = int(next(line for line in file.read_text().splitlines() if "--level drill" in line).split()[1])
    assert 2 <= hour <= 6
    machine.at(START.isoformat())
    machine("backup", "run", expect=0)
    drills = {}
    for nights in (1, 29, 30, 31, 59, 60):
        moment = START.replace(hour=hour) + timedelta(days=nights)
        done = cron.inside(place, ["/bin/sh", "-c", command], {**cron_environment(file), "OPSCTL_CLOCK": moment.isoformat()})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        machine.at(moment.isoformat())
        machine("status", "--refresh")
        drills[nights] = len(machine.json("status").result["backups"]["portal"]["drills"])
    assert drills == {1: 0, 29: 0, 30: 1, 31: 1, 59: 1, 60: 2}


@as_root
def test_an_ordinary_user_gets_units_of_their_own_or_the_line_for_crontab(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    machine = Machine(home)
    machine.make_key()
    machine.configure()
    shutil.chown(home, "nobody")
    for path in home.rglob("*"):
        shutil.chown(path, "nobody")
    uid = home.stat().st_uid
    env = {**os.environ, **machine.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        # The program and this folder may lie where only root may go.
        may = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        argv = ["setpriv", "--reuid", str(uid), "--regid", "65534", "--clear-groups", *may, *program("pytest", sys.executable), "--config",
                str(machine.etc), "--json", "backup", "schedule", *words]
        return subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    shown = call("--cron")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = json.loads(shown.stdout)["result"]["crontab"]
    assert " root " not in lines[0] and f">>{machine.state}/backup-" in lines[0]
    refused = call("--cron", "--write")
    assert refused.returncode == 4 and "crontab -e" in json.loads(refused.stdout)["errors"][0]["hint"]
    assert json.loads(call("--systemd", "--write").stdout)["result"]["outcomes"] == {"changed": 1}
    units = home / ".config/systemd/user"
    assert len(list(units.glob("opsctl-*"))) == 6
    service = next(units.glob("opsctl-backup-*.service")).read_text()
    assert "User=" not in service and "PrivateTmp" not in service
    assert json.loads(call("--systemd", "--write").stdout)["result"]["outcomes"] == {"ok": 1}


def test_what_is_shown_lies_where_it_would_be_written(machine: Machine, tmp_path: Path) -> None:
    place = tmp_path / "an image"
    said = machine("backup", "schedule", "--cron", "--into", str(place), expect=0)
    assert f"{place}/etc/cron.d/opsctl" in said.out
    assert f"`opsctl backup schedule --cron --into '{place}' --write` puts it there" in said.out
    assert not place.exists()
