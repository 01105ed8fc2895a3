"""Is this machine's clock right: what is due, which set is newest and every legal deadline are counted by it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opsctl import programs
from opsctl.cli.doctor import OK, UNCHECKED, WARNING, WRONG, Check
from opsctl.errors import OpsError
from opsctl.shells import sntp
from opsctl.shells.interface import Shell

MAY_DIFFER = 5.0
"""Seconds that the clock may be off before it is wrong; as far as a host's may differ from ours."""

_KEEP = "let chrony or systemd-timesyncd keep the clock"
_NAMED = "or name servers to ask: organisation: {ntp: [samay1.nic.in, time.nplindia.org]}"
_SECONDS = 5.0
_LIMIT = 8.0  # seconds for all time servers together, their names included


@dataclass(frozen=True)
class Seen:
    """What is judged: answers of time servers and why others gave none, what chronyc and timedatectl said."""

    answers: Sequence[sntp.Answer] = ()
    silent: Sequence[str] = ()
    chrony: str | None = None
    synchronised: bool | None = None


def check(servers: Sequence[str], shell: Shell, *, offline: bool = False) -> Check:
    """Look and judge. Time servers are asked all at once, and not at all with ``offline``."""
    return judge(observe(() if offline else servers, shell), asked=bool(servers), offline=offline)


def observe(servers: Sequence[str], shell: Shell) -> Seen:
    """Ask the servers, chrony and timedatectl, as far as they are here."""
    answers, silent = _ask(servers)
    if answers:
        return Seen(answers, silent)
    said = _said(shell, "chronyc", "-c", "tracking")
    word = _said(shell, "timedatectl", "show", "--property=NTPSynchronized", "--value") if said is None else None
    return Seen(answers, silent, said, {"yes": True, "no": False}.get((word or "").strip()))


def judge(seen: Seen, *, asked: bool, offline: bool = False) -> Check:
    """The check. Of several servers the one whose answer is surest counts."""
    if seen.answers:
        best = min(seen.answers, key=lambda one: one.doubt)
        return _by_offset(-best.offset, best.doubt, f"by {best.server}")
    unheard = f"; {seen.silent[0]}" if seen.silent else ""
    tracked = parse_tracking(seen.chrony) if seen.chrony else None
    if tracked is not None:
        if not tracked.synchronised:
            return Check("clock", WARNING, f"chrony follows no time server{unheard}", "chronyc sources -v says why")
        return _by_offset(-tracked.offset, 0.0, f"by chrony{unheard}")
    if seen.synchronised:
        return Check("clock", OK, f"kept by NTP, as timedatectl says{unheard}")
    if seen.synchronised is False:
        return Check("clock", WARNING, f"not kept by NTP, as timedatectl says{unheard}", f"{_KEEP}; timedatectl status")
    if unheard:
        return Check("clock", WARNING, f"nobody says whether it is right{unheard}", f"may UDP to port 123 pass? {_KEEP}")
    if offline and asked:
        return Check("clock", UNCHECKED, "--offline: nothing beyond this machine is asked")
    return Check("clock", UNCHECKED, "nothing here says whether it is right", f"{_KEEP}, {_NAMED}")


@dataclass(frozen=True)
class Tracking:
    """``offset``: seconds that true time is ahead of this clock, as chrony sees it."""

    offset: float
    synchronised: bool


def parse_tracking(text: str) -> Tracking | None:
    """What ``chronyc -c tracking`` says; None for anything else. Its fifth field is how far the clock is behind."""
    fields = text.strip().split(",")
    if len(fields) != 14 or re.fullmatch(r"-?\d+\.\d+", fields[4]) is None:
        return None
    return Tracking(float(fields[4]), fields[13] != "Not synchronised" and fields[2] != "0")


def _by_offset(ahead: float, doubt: float, who: str) -> Check:
    seen = f"{_shown(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}, {who}"
    if abs(ahead) - doubt > MAY_DIFFER:
        return Check("clock", WRONG, seen, f"{_KEEP}; what was dated by this clock is off by as much")
    return Check("clock", OK, f"right to {_shown(abs(ahead) + doubt)}, {who}")


def _shown(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _ask(servers: Sequence[str]) -> tuple[list[sntp.Answer], list[str]]:
    found: dict[str, sntp.Answer | OpsError] = {}

    def one(server: str) -> Callable[[], None]:
        def run() -> None:
            host, port = place(server)
            try:
                found[server] = sntp.ask(host, port)
            except OpsError as error:
                found[server] = error

        return run

    threads = [threading.Thread(target=one(server), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _LIMIT
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    heard = [each for server in servers if isinstance(each := found.get(server), sntp.Answer)]
    silent = [each.message if isinstance(each, OpsError) else f"time server {server} does not answer"
              for server in servers if not isinstance(each := found.get(server), sntp.Answer)]
    return heard, silent


def place(server: str) -> tuple[str, int]:
    """Host and port of ``time.example.in``, ``10.0.0.1:1123`` or ``[fd00::1]:123``."""
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?", server)
    if found is None:
        return server, sntp.PORT  # an IPv6 address as it stands
    return found[1] or found[3], int(found[2] or found[4] or sntp.PORT)


def _said(shell: Shell, *argv: str) -> str | None:
    """What a program says of the clock; None where it is not here or knows nothing."""
    path = programs.find(argv[0])
    if path is None:
        return None
    try:
        return shell.run([path, *argv[1:]], timeout=_SECONDS).text
    except OpsError as error:
        if error.code >= 100:
            raise
        return None
