"""One thing after another fetched from a host into a bag: streamed, bounded, and how each ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.model.evidence import Ended, Outcome
from opsctl.model.evidence_items import Asked
from opsctl.model.fields import shown
from opsctl.model.values import value
from opsctl.vault import Arriving

_ASK = 'LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH; command -v "$1" >/dev/null 2>&1 || exit 127; exec "$@"'
_NOT_THERE = 127


@value
class Limits:
    """Bytes of one item, and the bytes that are left for the bag as a whole; ``until``: monotonic seconds."""

    item: int
    left: Callable[[], int]
    until: float


class Full(Exception):
    """A limit was reached: what came until then is kept."""


def as_root(argv: Sequence[str]) -> list[str]:
    """A command behind the one program that a host's sudoers allows (``sh``)."""
    return ["sh", "-c", _ASK, "sh", *argv]


def ask(shell: Any, wanted: Asked, into: Arriving, limits: Limits) -> tuple[Ended, Sequence[str]]:
    """Run a command and keep what it prints; how it ended, and the command that it was.

    Raises Unreachable where the connection is gone, Interrupted, and ProgramFailed where nothing can be written here.
    """
    for argv in wanted.tries:
        ended = _run(shell, argv, into, limits, wanted.seconds)
        if ended.outcome != Outcome.MISSING:
            return ended, argv
    names = ", ".join(dict.fromkeys(argv[0] for argv in wanted.tries))
    return Ended(Outcome.MISSING, f"{names}: not on this host"), wanted.tries[0]


def _run(shell: Any, argv: Sequence[str], into: Arriving, limits: Limits, seconds: float) -> Ended:
    cut, code, said = fetch(shell, as_root(argv), into, limits, seconds)
    if code == _NOT_THERE and not into.size:
        return Ended(Outcome.MISSING, f"{argv[0]}: not on this host")
    if cut:
        return Ended(Outcome.COLLECTED if into.size else Outcome.FAILED, cut, into.size, into.sha256, cut=True)
    if code and not into.size:
        return Ended(Outcome.FAILED, f"it ended with {code}{': ' if said else ''}{said}")
    if not into.size:
        return Ended(Outcome.EMPTY, "it ended well and printed nothing")
    return Ended(Outcome.COLLECTED, f"it ended with {code}{': ' if said else ''}{said}" if code else "", into.size, into.sha256)


def fetch(shell: Any, argv: Sequence[str], into: Arriving, limits: Limits, seconds: float) -> tuple[str, int, str]:
    """Standard output of a command into a file: which limit cut it off (or nothing), its exit code, its last words."""
    begun = time.monotonic()
    until = min(begun + seconds, limits.until)
    most = max(0, min(limits.item, limits.left()))
    late = False

    def take(piece: bytes) -> None:
        room = most - into.size
        if len(piece) > room:
            into.write(piece[:room])
            raise Full
        into.write(piece)

    def is_late() -> bool:
        nonlocal late
        late = time.monotonic() >= until
        return late

    try:
        result = shell.run(list(argv), accept=None, on_data=take, give_up=is_late)
        return "", result.code, last_said(result.errors)
    except Full:
        return f"cut off at the limit of {most:,} bytes", 0, ""
    except Unreachable:
        if not late:
            raise
        return f"cut off after {time.monotonic() - begun:.0f} seconds", 0, ""
    except ProgramFailed as error:
        if error.where == str(into.path):  # our own disk, not the host
            raise
        return "", 1, shown(error.message, 300)
    finally:
        into.close()


def last_said(text: str) -> str:
    """The last line that says something, harmless."""
    lines = [line.strip() for line in text.replace("\0", "").splitlines() if line.strip() and not line.startswith("opsctl ")]
    return shown(lines[-1], 300) if lines else ""


def entered(shell: Any) -> tuple[Any, str]:
    """The shell that commands are run with, and a note: where root is refused, the account itself, and said so."""
    try:
        shell.run(["sh", "-c", ":"], timeout=60)
        return shell, ""
    except Refused as error:
        if shell.here or not getattr(shell, "sudo", False):
            raise
        plain = shell.plain()
        plain.run(["sh", "-c", ":"], timeout=60)
        return plain, f"not as root, so that some of it stays out of reach: {error.message}"


__all__ = ["Limits", "OpsError", "as_root", "ask", "entered", "fetch", "last_said"]
