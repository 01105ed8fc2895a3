"""What ``status`` tells from the catalogue: by the clock of now, and with what the last look at a repository ended with."""

from __future__ import annotations

import pytest

from tests.machine import Machine


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set."""
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    return machine


def test_a_set_from_the_future_is_not_the_newest_once_the_clock_is_right_again(kept: Machine) -> None:
    before = kept.json("status", expect=0).result["backups"]["portal"]
    kept.at("2027-12-12T02:30:00+05:30")
    (kept.data / "bill").write_text("13.50, and more")
    kept("backup", "run", expect=0)
    kept.at("2026-12-13T02:30:00+05:30")
    told = kept.json("status", expect=0).result["backups"]["portal"]
    assert (told["newest"], told["bytes"], told["states"]) == (before["newest"], before["bytes"], {"good": 1, "future": 1})
    assert "24 h old" in told["because"]
    asked = kept.json("status", "--refresh", expect=0).result["backups"]["portal"]
    assert {**asked, "checked": told["checked"], "first_time": told["first_time"]} == told
    kept.at("2026-12-20T02:30:00+05:30")
    assert kept.json("status", expect=5).result["backups"]["portal"]["state"] == "overdue"


def test_only_sets_from_the_future_are_none(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine.at("2027-12-12T02:30:00+05:30")
    machine("backup", "run", expect=0)
    machine.at("2026-12-13T02:30:00+05:30")
    assert machine.json("status", expect=5).result["backups"]["portal"]["state"] == "never"


def test_a_list_that_nobody_answered_for_says_no_more_than_the_error(kept: Machine) -> None:
    wrong = kept.root / "wrong"
    wrong.write_text("another\n")
    said = kept("backup", "list", "--repository", str(kept.store), "--password-file", str(wrong), expect=12)
    assert said.out == "" and "password" in said.err
    kept.store.rename(kept.root / "taken")
    assert kept("backup", "list", expect=22).out == ""


@pytest.fixture
def copied(kept: Machine) -> Machine:
    """A machine with one set, and a copy of it."""
    text = (kept.etc / "opsctl.yaml").read_text()
    other = f"  other: {{url: {kept.root}/other, password_file: {kept.etc}/keys/repository-password}}\n"
    kept.configure(text.replace("sources:\n", f"{other}sources:\n", 1).replace("repository: main}", "repository: main, copies: [other]}"))
    kept("backup", "init", expect=0)
    kept("backup", "copy", expect=0)
    kept("status", "--nagios", expect=0)
    return kept


@pytest.mark.parametrize("words", [("backup", "run", "portal"), ("verify", "main"), ("status", "--refresh")])
def test_a_repository_that_is_gone_stays_so_until_a_look_finds_it(copied: Machine, words: tuple[str, ...]) -> None:
    copied.store.rename(copied.root / "taken")
    copied.at("2026-12-13T02:30:00+05:30")
    copied(*words, expect=22)
    for _ in range(2):
        said = copied("status", expect=5)
        assert "damaged" in said.out and "is gone" in said.out and "attack" in said.err
        assert "as last seen on 2026-12-11 21:00" in said.out
    told = copied.json("status", expect=5).result
    assert (told["repositories"]["main"]["code"], told["repositories"]["main"]["time"]) == (22, "2026-12-13T02:30:00+05:30")
    assert told["backups"]["portal"]["state"] == "damaged" and not told["backups"]["portal"]["copies"]["other"]["late"]
    page = copied.root / "opsctl.prom"
    line = copied("status", "--nagios", "--prometheus", str(page), expect=2).out
    assert line.startswith("OPSCTL CRITICAL - 1 of 1 backup: portal damaged")
    assert 'opsctl_repository_exit_code{repository="main"} 22' in page.read_text()
    copied("--dry-run", "backup", "list", expect=22)
    (copied.root / "taken").rename(copied.store)
    copied("--dry-run", "backup", "list", expect=0)
    copied("status", expect=5)
    copied("backup", "list", expect=0)
    assert copied.json("status", expect=0).result["repositories"] == {}
    copied("status", "--nagios", expect=0)


def test_a_copy_that_is_another_one_stays_so(copied: Machine) -> None:
    place = copied.root / "other"
    place.rename(copied.root / "taken")
    copied.restic("init", repository=place)
    copied("verify", "other", expect=22)
    said = copied("status", expect=5)
    assert "is another one" in said.err and "portal in other" in said.out
    assert copied("status", "--nagios", expect=2).out.startswith("OPSCTL CRITICAL - the copy of portal in other")
    copied("status", "--refresh", expect=22)


def test_a_refresh_proves_the_password_though_nothing_is_new(copied: Machine) -> None:
    password = copied.etc / "keys" / "repository-password"
    right = password.read_text()
    password.write_text("another\n")
    errors = copied.json("status", "--refresh", expect=12).errors
    assert {error["where"] for error in errors} == {"main", "other"} and all("password" in error["message"] for error in errors)
    assert "password" in copied("status", expect=5).err
    assert copied.json("status", expect=5).result["backups"]["portal"]["state"] == "unknown"
    password.write_text(right)
    copied("status", "--refresh", expect=0)
    copied("status", expect=0)
