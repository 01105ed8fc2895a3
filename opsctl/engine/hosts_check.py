"""Is everything of a host as it has to be: reachable, its key, our logins, sudo, what cuts off, restic, its clock."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from opsctl.engine import hosts_isolation
from opsctl.errors import OpsError, Partial, ProgramFailed, Refused, Unreachable
from opsctl.model.hosts import Host
from opsctl.model.hosts_access import Entered, commands
from opsctl.programs import by_name, parse_version, show
from opsctl.shells.interface import Shell

CLOCK_MAY_DIFFER = 5.0
"""Seconds between a host's clock and ours beyond which times in evidence and reports cannot be compared."""

AT_ONCE = 512
_SECONDS = 30.0

# One command for everything: a host far away is asked once. A word that sudo allows is printed back.
_LOOK = """
date +%s.%N
if command -v restic >/dev/null; then echo "restic $(restic version 2>/dev/null | head -n 1)"; fi
command -v sudo >/dev/null && echo "sudo there"
for words; do sudo -n -l -- $words >/dev/null 2>&1 && echo "may $words"; done
exit 0
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``ok`` None where it was not, because of one before it."""

    name: str
    ok: bool | None
    seen: str
    hint: str = ""


@dataclass(frozen=True)
class Checked:
    """One host: the checks in their order, the clock's offset in seconds (ahead of ours is positive), the error."""

    host: str
    checks: Sequence[Check]
    offset: float | None = None
    error: OpsError | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        return self.error is None


Cuts = Callable[[str], tuple[Entered, Callable[[], Shell]] | None]
"""For what a host is entered with the key for isolation, and a shell that is; None where it is not."""


def check_hosts(hosts: Mapping[str, Host], shell_of: Callable[[str], Shell], cuts: Cuts = lambda name: None) -> list[Checked]:
    """Check many hosts at once, in the order given; one that does not answer holds no other up."""
    if not hosts:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(hosts)), thread_name_prefix="check") as pool:
        return list(pool.map(lambda name: check_host(name, hosts[name], shell_of, cuts), hosts))


def check_host(name: str, host: Host, shell_of: Callable[[str], Shell], cuts: Cuts = lambda name: None) -> Checked:
    """Check one host. Raises Interrupted and nothing else on purpose: what is wrong is in the result."""
    if host.os != "linux":
        return Checked(name, (Check("login", None, f"os: {host.os} is not logged into"),))
    asked = _asked(host)
    arrived: list[tuple[float, bytes]] = []
    begun = time.time()
    try:
        shell = shell_of(name)
        # The first turn pays for the connection, so that the second can tell the time.
        shell.run(["true"], timeout=_SECONDS)
        begun = time.time()
        shell.run(["sh", "-c", _LOOK, "sh", *asked.values()], timeout=_SECONDS,
                  on_line=lambda line: arrived.append((time.time(), line)))
    except (Unreachable, Refused, ProgramFailed) as error:
        found = _broken_off(error, host)
        # That backups are not let in says nothing of the other key.
        more = _isolation(name, cuts) if found[-1].ok is False else []
        return Checked(name, (*found, *more), error=error)
    said = [line.decode("utf-8", "replace") for _, line in arrived]
    offset, clock = _clock(begun, arrived[0][0] if arrived else begun, said[0] if said else "")
    checks = [Check("answers", True, host.address), Check("host key", True, "as pinned"),
              Check("login", True, f"as {host.user}")]
    if host.become == "sudo":
        checks += _sudo(host, asked, said)
    checks += [*_isolation(name, cuts), _restic(said), clock]
    wrong = [check for check in checks if check.ok is False]
    missing = Partial(f"{name}: {'; '.join(check.seen for check in wrong)}", where=name,
                      hint=wrong[0].hint) if wrong else None
    return Checked(name, tuple(checks), offset, missing)


def _isolation(name: str, cuts: Cuts) -> list[Check]:
    """What cutting off would meet there."""
    wanted = cuts(name)
    return [Check("isolation", *hosts_isolation.look(wanted[1], wanted[0]))] if wanted is not None else []


def _asked(host: Host) -> dict[str, str]:
    """The words that sudo is asked about, by program; 1 stands for a number."""
    if host.become != "sudo":
        return {}
    return {shlex.join(words): " ".join(words).replace("[0-9]*", "1") for words in commands(host)}


def _broken_off(error: OpsError, host: Host) -> tuple[Check, ...]:
    hint = error.hint or ""
    if isinstance(error, Unreachable):
        return (Check("answers", False, error.message, hint), Check("host key", None, ""), Check("login", None, ""))
    if error.details.get("kind") == "host-key":
        return (Check("answers", None if host.pinned is None else True, host.address),
                Check("host key", False, error.message, hint), Check("login", None, ""))
    return (Check("answers", True, host.address), Check("host key", True, "as pinned"),
            Check("login", False, error.message, hint))


def _sudo(host: Host, asked: Mapping[str, str], said: Sequence[str]) -> list[Check]:
    if "sudo there" not in said:
        return [Check("sudo", False, "sudo is not installed", "install sudo there, or become: none")]
    missing = [words for words, probe in asked.items() if f"may {probe}" not in said]
    if not missing:
        return [Check("sudo", True, f"{len(asked)} commands without a password")]
    return [Check("sudo", False, f"sudo -n does not allow {host.user}: {', '.join(missing)}",
                  "`opsctl hosts prepare` prints the lines for /etc/sudoers.d/opsctl")]


def _restic(said: Sequence[str]) -> Check:
    found = next((line.removeprefix("restic ") for line in said if line.startswith("restic ")), None)
    least = by_name("restic").minimum
    hint = f"needed where files of this host are backed up: install restic {show(least)} or newer there"
    if found is None:
        return Check("restic", False, "restic is not installed", hint)
    version = parse_version(found)
    if not version or version < least:
        return Check("restic", False, f"restic {show(version)} is too old", hint)
    return Check("restic", True, show(version))


def _clock(begun: float, ended: float, said: str) -> tuple[float | None, Check]:
    try:
        there = float(said)
    except ValueError:
        return None, Check("clock", False, "its clock could not be read", "`date +%s.%N` there has to print seconds")
    offset, doubt = there - (begun + ended) / 2, (ended - begun) / 2
    seen = f"{offset:+.1f} s from ours (± {doubt:.1f} s)"
    if abs(offset) - doubt > CLOCK_MAY_DIFFER:
        return offset, Check("clock", False, f"its clock is {seen}", "set both by NTP: chrony, or systemd-timesyncd")
    return offset, Check("clock", True, seen)
