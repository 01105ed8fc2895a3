"""The texts for systemd and cron, by value; and what systemd itself says of them."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from opsctl.errors import ConfigError
from opsctl.model import schedule
from opsctl.model.schedule import Piece, Wish

PLAIN = Wish(program=("/usr/bin/true",), directory="/etc/opsctl", host="controller-1")


def piece(pieces: tuple[Piece, ...], name: str) -> str:
    return next(str(one.text) for one in pieces if Path(one.path).name == name)


def test_the_minute_stays_and_hosts_are_spread_over_the_hour() -> None:
    minutes = [schedule.minute(f"host-{number}") for number in range(600)]
    assert minutes == [schedule.minute(f"host-{number}") for number in range(600)]
    assert set(minutes) == set(range(60))
    assert max(minutes.count(one) for one in range(60)) < 30
    assert {schedule.night_hour(f"host-{number}") for number in range(100)} == {1, 2, 3, 4, 5}


def test_two_configurations_of_one_machine_do_not_replace_each_other() -> None:
    other = Wish(program=PLAIN.program, directory="/srv/other", host=PLAIN.host)
    for make in (schedule.systemd, schedule.cron):
        paths = [{one.path for one in make(wish)} - {schedule.LOGS} for wish in (PLAIN, other)]
        assert not paths[0] & paths[1]
    assert "/etc/systemd/system/opsctl-backup.timer" in {one.path for one in schedule.systemd(PLAIN)}


def test_the_service_is_not_cut_off_and_asks_for_what_is_due() -> None:
    service = piece(schedule.systemd(PLAIN), "opsctl-backup.service").splitlines()
    for line in ("ExecStart=/usr/bin/true --config /etc/opsctl backup run --due", "Type=oneshot", "User=root", "Nice=10",
                 "TimeoutStartSec=infinity", "PrivateTmp=yes", "ProtectSystem=full",
                 "Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"):
        assert line in service
    timer = piece(schedule.systemd(PLAIN), "opsctl-backup.timer").splitlines()
    minute = schedule.minute(PLAIN.host)
    for line in (f"OnCalendar=*-*-* *:{minute:02}:00", "Persistent=true", "FixedRandomDelay=true", "AccuracySec=1s"):
        assert line in timer


@pytest.mark.parametrize("wish", [
    PLAIN,
    Wish(("/usr/bin/env", "A=/b c", "/usr/bin/true"), '/srv/50% "of $HOME/it\'s; a\\b', "h"),
    Wish(("/usr/bin/true",), "/home/asha/configs", "h", account="asha", units="/home/asha/.config/systemd/user"),
    Wish(("/usr/bin/true",), "/srv/c", "h", account="daemon", private_tmp=False, guarded=False),
    Wish(("/usr/bin/true",), "/srv/c", "h", writes=("/usr/local/my backups", "/etc/x%y")),
], ids=["plain", "signs", "user", "account", "writes"])
def test_systemd_itself_finds_nothing_wrong(wish: Wish, tmp_path: Path) -> None:
    files = []
    for one in schedule.systemd(wish):
        if one.text is not None:
            path = tmp_path / Path(one.path).name
            path.write_text(one.text)
            files.append(str(path))
    assert {Path(file).stem.split("-")[1] for file in files} == {"backup", "verify", "drill"} and len(files) == 6
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "opsctl-" in line]
    assert (done.returncode, said) == (0, [])
    # The same look does find a mistake.
    Path(files[0]).write_text(Path(files[0]).read_text().replace("Nice=10", "Nicely=10"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    assert "Nicely" in done.stderr


@pytest.mark.parametrize(("word", "written"), [
    ("/usr/bin/opsctl", "/usr/bin/opsctl"), ("a b", '"a b"'), ("50%", '"50%%"'), ("$HOME", '"$$HOME"'),
    ('a"b\\c', '"a\\"b\\\\c"'), ("", '""'), ("it's", '"it\'s"'),
])
def test_a_word_of_a_unit(word: str, written: str) -> None:
    assert schedule.unit_word(word) == written


def test_what_a_private_tmp_or_a_read_only_usr_would_break_is_seen() -> None:
    assert schedule.shares_tmp(["/srv/a", "/tmp/.s.PGSQL.5432"]) and schedule.shares_tmp(["/var/tmp"])
    assert not schedule.shares_tmp(["/srv/tmp", "/tmpfs/a"])
    assert schedule.read_only(["/srv/a", "/usr/local/store", "/etc/x", "/etcetera"]) == ("/usr/local/store", "/etc/x")
    commands, variables = schedule.sights({"repositories": {"main": {"password_env": "SECRET", "password_command": None}}})
    assert (commands, variables) == (False, ("SECRET",))
    assert schedule.sights({"repositories": {"main": {"password_command": ["pass", "show"]}}})[0]


def test_the_line_for_cron_says_its_exit_code_and_signs_survive(tmp_path: Path) -> None:
    """The command is run by a shell, after cron took the backslashes before its %."""
    program = tmp_path / "50% 'of'"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; exit 22\n')
    program.chmod(0o755)
    wish = Wish((str(program),), "/srv/a%b c", "h", log_directory=str(tmp_path))
    line = schedule.crontab(wish)[0]
    assert line.startswith(f"{schedule.minute('h')} * * * * {{ date -u +\\%Y-\\%m-\\%dT")
    command = line.split(" ", 5)[5].replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env={"PATH": os.defpath}, check=False)
    log = tmp_path / f"backup{schedule.suffix(wish.directory)}.log"
    assert (done.returncode, done.stderr) == (22, "")
    assert done.stdout == f"opsctl backup run --due ended with exit code 22, see {log}\n"
    assert log.read_text().splitlines()[1:] == ["--config", "/srv/a%b c", "backup", "run", "--due"]
    assert shlex.split(line)


def test_a_line_that_cron_would_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="cron takes no line of"):
        schedule.cron(Wish(("/usr/bin/true",), "/" + "x" * 900, "h"))
