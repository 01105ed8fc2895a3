"""What monitors and doctor are told: from the same record as the exit code, and whether anything asks at all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsctl.cli import doctor_schedule, metrics, ticks
from opsctl.cli.doctor_schedule import Entry, Seen, judge
from opsctl.cli.ticks import Stamp
from opsctl.engine.configuration import load_config
from opsctl.model.schedule import Wish, cron, systemd
from tests.machine import Machine

NOW = datetime(2026, 12, 15, 2, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)

# Nagios plug-in guidelines: 'label'=value[unit];[warn];[crit];[min];[max]
NUMBER = re.compile(r"([a-z0-9_-]+)=(\d+)(s|B);(\d*);(\d*);(\d*)")
# The text format of Prometheus, version 0.0.4.
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.e+-]+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')


def parse(page: str) -> dict[str, float]:
    """Read a page strictly: HELP and TYPE before their samples, each metric once and together, no sample twice."""
    assert page.endswith("\n") and "\n\n" not in page
    found: dict[str, float] = {}
    told: list[str] = []
    kinds: list[str] = []
    for line in page.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in told and len(line.split(" ", 3)) == 4
            told.append(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert told[-1] == name and kind == "gauge"
            kinds.append(name)
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == told[-1] == kinds[-1]
            labels = ",".join(f"{key}={value}" for key, value in LABEL.findall(match[2] or ""))
            key = f"{match[1]}[{labels}]" if labels else match[1]
            assert key not in found
            found[key] = float(match[3])
    assert told == kinds
    return found


def page(machine: Machine, *words: str, expect: int) -> dict[str, float]:
    file = machine.root / "opsctl.prom"
    said = machine("status", "--prometheus", str(file), *words, expect=expect)
    assert file.stat().st_mode & 0o777 == 0o644 and not list(machine.root.glob(".opsctl.prom*")), said.err
    return parse(file.read_text())


def test_prometheus_says_what_the_exit_code_says(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n" * 100)
    never = page(machine, expect=5)
    assert never["opsctl_status_exit_code"] == 5 and never["opsctl_backup_overdue[backup=portal]"] == 1
    assert not any("newest" in name or "age" in name or "duration" in name for name in never)
    newest = machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["newest_time"]
    machine.at("2026-12-13T02:30:00+05:30")
    good = page(machine, expect=0)
    moment = datetime.fromisoformat(newest)
    assert good["opsctl_backup_newest_timestamp_seconds[backup=portal]"] == moment.timestamp()
    assert 86400 <= good["opsctl_backup_age_seconds[backup=portal]"] < 86400 + 600
    assert good["opsctl_backup_every_seconds[backup=portal]"] == 3 * 86400
    assert good["opsctl_backup_sets[backup=portal,state=good]"] == 1
    assert good["opsctl_backup_bytes[backup=portal]"] == machine.json("status", expect=0).result["backups"]["portal"]["bytes"]
    assert {good[f"opsctl_backup_{word}[backup=portal]"] for word in ("due", "overdue", "unverified", "damaged", "late")} == {0}
    assert good["opsctl_status_exit_code"] == good["opsctl_due_exit_code"] == 0 and good["opsctl_due_duration_seconds"] > 0
    assert good["opsctl_due_fired_timestamp_seconds"] == moment.timestamp()
    machine.at("2026-12-15T03:30:00+05:30")
    due = page(machine, expect=0)
    assert (due["opsctl_backup_due[backup=portal]"], due["opsctl_backup_overdue[backup=portal]"]) == (1, 0)
    machine.at("2027-01-31T03:30:00+05:30")
    late = page(machine, expect=5)
    # What is overdue as well hides in no word that it is unverified.
    assert {late[f"opsctl_backup_{word}[backup=portal]"] for word in ("due", "overdue", "unverified", "late")} == {1}
    assert late["opsctl_status_exit_code"] == 5
    assert page(machine, "--nagios", expect=2) == pytest.approx(late, rel=1e-4)
    # An old page must not stand for a configuration that cannot be read.
    (machine.etc / "opsctl.yaml").write_text("x: [\n")
    broken = page(machine, expect=10)
    assert broken["opsctl_status_exit_code"] == 10 and set(broken) == {"opsctl_status_exit_code",
                                                                       "opsctl_status_timestamp_seconds"}


def test_prometheus_says_how_each_copy_stands(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    machine("backup", "run", expect=0)
    text = (machine.etc / "opsctl.yaml").read_text()
    other = f"  other: {{url: {machine.root}/other, password_file: {machine.etc}/keys/repository-password, append_only: true}}\n"
    machine.configure(text.replace("sources:\n", f"{other}sources:\n", 1)
                      .replace("repository: main}", "repository: main, copies: [other]}"))
    found = page(machine, expect=5)
    copy = {name: value for name, value in found.items() if name.startswith("opsctl_copy")}
    assert copy == {f"opsctl_copy_{word}[backup=portal,repository=other]": value
                    for word, value in (("sets", 0), ("late", 1), ("survives", 1))}
    assert found["opsctl_backup_late[backup=portal]"] == 0 and found["opsctl_status_exit_code"] == 5


def test_a_page_that_cannot_be_written_is_an_error_and_nothing_else_is_hidden(machine: Machine) -> None:
    place = str(machine.root / "nowhere" / "opsctl.prom")
    assert "portal" in machine("status", "--prometheus", place, expect=5).out
    (machine.data / "file.txt").write_text("content\n")
    machine("backup", "run", expect=0)
    assert "nowhere" in machine("status", "--prometheus", place, expect=20).err
    assert machine("status", "--nagios", "--prometheus", place, expect=3).out.startswith("OPSCTL UNKNOWN - ")
    dry = machine.root / "dry.prom"
    machine("--dry-run", "status", "--prometheus", str(dry), expect=0)
    assert not dry.exists()


def test_signs_in_labels_are_escaped() -> None:
    told = metrics._labels({"backup": 'a"b\\c\nd', "state": "x"})
    assert told == '{backup="a\\"b\\\\c\\nd",state="x"}'
    assert SAMPLE.fullmatch(f"m{told} 1")


def test_nagios_gets_one_line_with_numbers(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n" * 100)
    assert machine("status", "--nagios", expect=2).out == "OPSCTL CRITICAL - 1 of 1 backup: portal never\n"
    machine("backup", "run", expect=0)
    for moment, code, word in (("2026-12-13T02:30:00+05:30", 0, "OK"), ("2026-12-15T03:30:00+05:30", 1, "WARNING"),
                               ("2026-12-16T03:30:00+05:30", 2, "CRITICAL")):
        machine.at(moment)
        line, = machine("status", "--nagios", expect=code).out.splitlines()
        head, _, numbers = line.partition(" | ")
        assert head.startswith(f"OPSCTL {word} - ")
        found = {match[1]: match for match in map(NUMBER.fullmatch, numbers.split()) if match}
        assert list(found) == ["portal_age", "portal_bytes"] and len(numbers.split()) == 2
        assert found["portal_age"].groups()[2:] == ("s", "259200", "280800", "0")
        age = int(found["portal_age"][2])
        # The thresholds say the same as the exit code.
        assert code == (age >= 259200) + (age > 280800)
        assert int(found["portal_bytes"][2]) == 800


# --- the stamp ---------------------------------------------------------------------------------------------


def stamp(machine: Machine) -> dict[str, object]:
    return json.loads((machine.state / "due.json").read_text())


def test_every_question_is_noted_also_where_nothing_is_due_and_where_it_fails(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    machine("backup", "run", expect=0)
    machine("--dry-run", "backup", "run", "--due", expect=0)
    assert not (machine.state / "due.json").exists()
    machine.at("2026-12-12T03:30:00+05:30")
    machine("backup", "run", "--due", expect=0)
    first = stamp(machine)
    assert first["fired"] == first["began"] == "2026-12-12T03:30:00+05:30"
    assert (first["running"], first["exit_code"]) == (None, 0)
    machine.at("2026-12-16T03:30:00+05:30")
    (machine.store / "config").rename(machine.store / "gone")
    machine("backup", "run", "--due", expect=22)
    assert stamp(machine)["exit_code"] == 22 and stamp(machine)["fired"] == "2026-12-16T03:30:00+05:30"
    # Decayed, it says nothing, and the next question writes a new one.
    (machine.state / "due.json").write_text("{")
    assert ticks.read(machine.state) == Stamp()
    (machine.state / "due.json").write_text('{"fired": "2026-02-32T03:30:00Z"}')
    assert ticks.read(machine.state) == Stamp()


def test_status_tells_of_a_run_by_hand_that_failed_until_a_set_is_taken(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    machine("backup", "run", expect=0)
    gone = machine.data.rename(machine.root / "gone")
    machine.at("2026-12-12T04:30:00+05:30")
    failed = machine.json("backup", "run", "portal", expect=3).document["run"]
    told = "the last `backup run` by hand of portal, 2026-12-11 23:00 UTC, ended with 3"
    assert told in machine("status", expect=0).err, "and nothing is late"
    assert machine("status", "--nagios", expect=0).out.startswith("OPSCTL OK")
    machine("backup", "run", "--due", expect=0)
    assert told in machine("status", expect=0).err, "nothing was due, so nothing has changed"
    gone.rename(machine.data)
    machine("resume", failed, expect=0)
    assert "by hand" not in machine("status", expect=0).err
    gone = machine.data.rename(machine.root / "gone")
    machine("backup", "run", "portal", expect=3)
    gone.rename(machine.data)
    machine("backup", "run", expect=0)
    assert "by hand" not in machine("status", expect=0).err


def test_a_stamp_that_cannot_be_written_stops_no_backup(machine: Machine) -> None:
    (machine.data / "file.txt").write_text("content\n")
    (machine.state / "due.json").mkdir()
    said = machine("backup", "run", "--due", expect=0)
    assert "is whole and signed" in said.out and "how this ended could not be noted" in said.err


# --- doctor ------------------------------------------------------------------------------------------------


def seen(last: datetime | None, *, since: datetime | None = NOW - timedelta(days=9), enabled: bool = True,
         at_work: bool = False, booted: datetime | None = None, there: bool = True) -> Seen:
    entry = Entry("/etc/systemd/system/opsctl-backup.service", since, enabled)
    return Seen((entry,) if there else (), Stamp(fired=last.isoformat() if last else None, exit_code=0), NOW,
                at_work, booted)


def test_doctor_does_not_take_an_unknown_asker_for_a_schedule() -> None:
    check = judge(seen(NOW - HOUR, there=False))
    assert check.state == "warning" and "something that is not known here did, 60 min ago" in check.detail
    assert "a person" in check.hint and "backup schedule --write" in check.hint


@pytest.mark.parametrize(("found", "ok", "words"), [
    (seen(None, there=False), False, "nothing asks every hour"),
    (seen(NOW - 5 * HOUR, there=False), False, "nothing asks every hour"),
    (seen(NOW - HOUR, enabled=False), False, "its timer is not enabled"),
    (seen(NOW - HOUR), True, "asked 60 min ago, ended with 0"),
    (seen(NOW - 3 * HOUR), False, "has not fired since 2026-12-14 23:30 UTC"),
    (seen(None), False, "has never fired"),
    (seen(None, since=NOW - HOUR), True, "fires within the hour"),
    (seen(NOW - 40 * HOUR, booted=NOW - HOUR), True, "fires within the hour"),
    (seen(NOW - 40 * HOUR, booted=NOW - 4 * HOUR), False, "has not fired since"),
    (seen(NOW - 40 * HOUR, at_work=True), True, "at work since"),
    # A clock that was set back explains nothing away.
    (seen(NOW + 40 * HOUR), False, "has not fired since"),
])
def test_doctor_judges_the_schedule(found: Seen, ok: bool, words: str) -> None:
    check = judge(found)
    assert check.ok is ok and words in check.detail and bool(check.hint) is not ok


def test_doctor_says_what_nobody_asks_for_at_night(machine: Machine, tmp_path: Path) -> None:
    line = "7 * * * * root opsctl --config {} {}\n"
    file = tmp_path / "etc/cron.d/opsctl"
    file.parent.mkdir(parents=True)
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, verify: {drill: 30d}}"))
    config = load_config(machine.etc)

    def unasked(*asks: str) -> tuple[str, ...]:
        file.write_text("".join(line.format(machine.etc, one) for one in ("backup run --due", *asks)))
        return doctor_schedule.observe(config, NOW, {}, tmp_path).unasked

    assert unasked() == ("verify --level data", "verify --level drill --due")
    assert unasked("verify --level=data --share all") == ("verify --level drill --due",)
    assert unasked("verify --level data", "verify --level drill --due") == ()
    found = judge(replace(seen(NOW - HOUR), unasked=("verify --level data",)))
    assert found.state == "warning" and "nothing asks for `verify --level data`" in found.detail
    assert judge(replace(seen(NOW - 9 * HOUR), unasked=("verify --level data",))).state == "wrong"


@pytest.mark.parametrize("directory", ["/etc/opsctl", "/srv/of a%b $c"])
@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_doctor_finds_what_was_installed_for_this_configuration_only(
    machine: Machine, tmp_path: Path, kind: str, directory: str
) -> None:
    root = tmp_path / "root"
    for one in (systemd if kind == "systemd" else cron)(Wish(("/usr/bin/env", "opsctl"), directory, "h")):
        place = root / one.path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        if one.target is not None:
            place.symlink_to(one.target)
        elif one.text is not None:
            place.write_text(one.text)
    assert [Path(entry.place).name.partition("-")[0].partition(".")[0] for entry in
            doctor_schedule._entries(directory, {}, root)] == ["opsctl"]
    assert list(doctor_schedule._entries("/srv/another", {}, root)) == []
    for link in root.rglob("*.wants/*"):
        link.unlink()
    assert [entry.enabled for entry in doctor_schedule._entries(directory, {}, root)] == [kind == "cron"]


@pytest.mark.parametrize(("line", "found"), [
    ("7 * * * *  root  /usr/local/bin/opsctl --quiet backup run --due", True),
    ("7 * * * *  root  /usr/local/bin/opsctl --config=/etc/opsctl/ backup run portal --due", True),
    ("#7 * * * *  root  /usr/local/bin/opsctl backup run --due", False),
    ("7 * * * *  root  /usr/local/bin/opsctl --config /srv/other backup run --due", False),
    ("7 * * * *  root  /usr/local/bin/opsctl backup run", False),
    ("7 * * * *  root  /usr/local/bin/opsctl verify 'unbalanced --due", False),
])
def test_doctor_reads_a_line_that_a_person_wrote(line: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    (tmp_path / "etc/cron.d/backup").write_text(line + "\n")
    # cron passes over a name with a dot.
    (tmp_path / "etc/cron.d/backup.old").write_text("7 * * * * root opsctl backup run --due\n")
    assert len(list(doctor_schedule._entries("/etc/opsctl", {}, tmp_path))) == found


def test_doctor_says_that_nothing_asks(machine: Machine) -> None:
    check, = (one for one in machine.json("doctor", expect=3).result["checks"] if one["name"] == "schedule")
    assert not check["ok"] and "opsctl backup schedule --write" in check["hint"]
    machine.configure(f"state: {machine.state}\n")
    assert not [one for one in machine.json("doctor").result["checks"] if one["name"] == "schedule"]


def test_a_failed_attempt_shows_before_anything_is_late(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", "--due", expect=0)
    assert "ended with" not in machine("status", expect=0).err
    machine.at("2026-12-15T02:30:00+05:30")
    (machine.data / "bill").rename(machine.root / "bill")
    machine.data.rmdir()
    machine("backup", "run", "--due")
    machine.at("2026-12-15T02:00:00+05:30")
    assert "of portal, 2026-12-14 21:00 UTC, ended with" in machine("status", expect=0).err
    assert machine("status", "--nagios", expect=1).out.startswith("OPSCTL WARNING")
    # Another backup that went well says nothing of this one.
    text = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(text.replace("sources:\n", f"sources:\n  more: {{kind: paths, paths: [{machine.etc}]}}\n", 1)
                      .replace("backups:\n", "backups:\n  other: {sources: [more], repository: main}\n", 1))
    for _ in range(2):
        machine("backup", "run", "--due", "other", expect=0)
        assert "of portal, 2026-12-14 21:00 UTC, ended with" in machine("status", expect=0).err
    machine.data.mkdir()
    (machine.root / "bill").rename(machine.data / "bill")
    machine("backup", "run", "--due", "portal", expect=0)
    assert "ended with" not in machine("status", expect=0).err
    machine("status", "--nagios", expect=0)
