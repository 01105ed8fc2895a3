"""Does anything ask every hour what is due, for this configuration, and has it lately?"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opsctl.cli import ticks
from opsctl.cli.doctor import OK, WARNING, WRONG, Check
from opsctl.model.due import words
from opsctl.model.moments import local
from opsctl.model.schedule import ASKS, SYSTEM_CONFIG

#: An hourly question has surely been asked within this, unless the machine was off.
PATIENCE = timedelta(hours=2, minutes=30)


@dataclass(frozen=True)
class Entry:
    """Something that asks for this configuration: where it stands, since when, and whether it is switched on."""

    place: str
    since: datetime | None
    enabled: bool = True


@dataclass(frozen=True)
class Seen:
    """What the check judges. ``now`` is in the time zone that times are shown in. ``booted``: since when this machine runs; None where it does not say.

    ``unasked``: what the configuration wants done by itself at night and nothing asks for.
    """

    entries: tuple[Entry, ...]
    stamp: ticks.Stamp
    now: datetime
    at_work: bool = False
    booted: datetime | None = None
    unasked: tuple[str, ...] = ()


def check(config: Any, now: datetime, environ: Mapping[str, str]) -> Check | None:
    """Look and judge; None where there is no backup that could be asked for."""
    return judge(observe(config, now, environ)) if config is not None and config.backups else None


def observe(config: Any, now: datetime, environ: Mapping[str, str], root: Path = Path("/")) -> Seen:
    """Read timers and crontabs below ``root``, and the stamp of the last question."""
    stamp = ticks.read(Path(config.state))
    directory = str(config.directory)
    wanted = ["verify", *(["drill"] if any(plan.verify.drill for plan in config.backups.values()) else [])]
    unasked = tuple(" ".join(ASKS[job]) for job in wanted if not any(
        entry.enabled for entry in _entries(directory, environ, root, job)))
    now = now.astimezone(config.organisation.tz)
    return Seen(tuple(_entries(directory, environ, root)), stamp, now, stamp.at_work, _booted(), unasked)


def judge(seen: Seen) -> Check:
    """The check."""
    found = _hourly(seen)
    if found.state == OK and seen.unasked:
        return Check("schedule", WARNING, f"{found.detail}; but nothing asks for `{'`, `'.join(seen.unasked)}`",
                     "`opsctl backup schedule --write` installs that, too")
    return found


def _hourly(seen: Seen) -> Check:
    last = seen.stamp.last
    awake = [entry for entry in seen.entries if entry.enabled]
    if not awake:
        asleep = next(iter(seen.entries), None)
        if asleep is not None:
            hint = f"systemctl enable --now {Path(asleep.place).stem}.timer, or `opsctl backup schedule --write`"
            return Check("schedule", WRONG, f"{asleep.place} is there and its timer is not enabled", hint)
        if last is not None and seen.now - last <= PATIENCE:
            return Check(
                "schedule", WARNING,
                f"no timer or cron line of this machine asks; something that is not known here did, {_ago(seen, last)}",
                "was it a person, or a scheduler of your own? `opsctl backup schedule --write` installs a timer or a line "
                "for cron")
        return Check("schedule", WRONG, "nothing asks every hour what is due",
                     "`opsctl backup schedule --write` installs a timer or a line for cron")
    place = awake[0].place
    if seen.at_work:
        return Check("schedule", OK, f"{place}: at work" + (f" since {local(last, seen.now.tzinfo)}" if last else ""))
    # What was installed, or a machine that was started, a moment ago gets its hour first.
    since = max((moment for moment in (last, awake[0].since, seen.booted) if moment is not None and moment <= seen.now),
                default=None)
    if since is None or seen.now - since > PATIENCE:
        when = f"has not fired since {local(last, seen.now.tzinfo)}" if last is not None else "has never fired"
        return Check("schedule", WRONG, f"{place} {when}", _why(place))
    if last is None or last < since:
        return Check("schedule", OK, f"{place}: fires within the hour")
    ended = "" if seen.stamp.exit_code is None else f", ended with {seen.stamp.exit_code}"
    return Check("schedule", OK, f"{place}: asked {_ago(seen, last)}{ended}")


def _ago(seen: Seen, last: datetime) -> str:
    return f"{words(seen.now - last)} ago" if last <= seen.now else f"at {local(last, seen.now.tzinfo)}"


def _why(place: str) -> str:
    if place.endswith((".service", ".timer")):
        name = Path(place).stem
        return f"systemctl status {name}.timer; journalctl -u {name}.service"
    return "is cron running? grep CRON /var/log/syslog, or journalctl -u cron; and the log that the line names"


def _booted() -> datetime | None:
    try:
        found = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


# --- what there is -----------------------------------------------------------------------------------------


def _entries(directory: str, environ: Mapping[str, str], root: Path, job: str = "backup") -> Iterator[Entry]:
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    for folder in (root / "etc/systemd/system", root / home.lstrip("/") / "systemd/user"):
        for path in _files(folder, "*.service"):
            if any(_asks(line.partition("=")[2].replace("%%", "%").replace("$$", "$"), directory, job)
                   for line in _lines(path) if line.startswith("ExecStart=")):
                yield Entry(str(path), _since(path), any(folder.glob(f"*.wants/{path.stem}.timer")))
    for path in (root / "etc/crontab", *_files(root / "etc/cron.d", "*"), *_files(root / "var/spool/cron", "**/*")):
        # cron passes over files with a dot in their name.
        if "." not in path.name and any(_asks(line.replace("\\%", "%"), directory, job) for line in _lines(path)):
            yield Entry(str(path), _since(path))
    if os.geteuid() != 0 and root == Path("/") and any(_asks(line, directory, job) for line in _own_crontab()):
        yield Entry("your crontab", None)


def _asks(line: str, directory: str, job: str) -> bool:
    """Whether a line runs what a job asks for (``backup run --due``) for the configuration in ``directory``."""
    if line.lstrip().startswith("#") or not all(word in line for word in ASKS[job]):
        return False
    try:
        found = shlex.split(line, posix=True)
    except ValueError:
        found = line.split()
    found = [part for word in found for part in word.rstrip(";").split("=", word.startswith("--level="))]
    if not set(ASKS[job]) <= set(found) or not any(pair == ASKS[job][:2] for pair in itertools.pairwise(found)):
        return False
    told = [after for word, after in itertools.pairwise(found) if word == "--config"]
    told += [word.partition("=")[2] for word in found if word.startswith("--config=")]
    return os.path.normpath(told[-1]) == directory if told else directory == SYSTEM_CONFIG


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _since(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _own_crontab() -> list[str]:
    try:
        done = subprocess.run(["crontab", "-l"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.decode("utf-8", "replace").replace("\\%", "%").splitlines()
