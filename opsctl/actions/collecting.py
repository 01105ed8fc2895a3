"""One command of a host after another, its output streamed into a file, bounded in size and time, and how each ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsctl.errors import ProgramFailed, Refused, Unreachable
from opsctl.model.evidence import Ended, Outcome
from opsctl.model.evidence_items import DEVICE, Asked
from opsctl.model.safe_text import shown
from opsctl.model.values import value
from opsctl.vault import Arriving

_ASK = 'LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH; command -v "$1" >/dev/null 2>&1 || exit 127; exec "$@"'
_NOT_THERE = 127
_NO_SUCH_FILE = "No such file or directory"
_ANSWER = 60.0
_LONGEST = 300  # characters of a reason


@value
class Limits:
    """Bytes of one item, and what ``left`` says is left for the bag as a whole; ``until``: monotonic seconds."""

    item: int
    left: Callable[[], int]
    until: float


@value
class Done:
    """How fetching ended: the limit that ``cut`` it off (or nothing), exit code, last words, and standard error."""

    cut: str
    code: int = 0
    said: str = ""
    errors: str = ""


class Full(Exception):
    """A limit was reached: what came until then is kept."""


def ask(shell: Any, wanted: Asked, into: Arriving, limits: Limits) -> tuple[Ended, Sequence[str]]:
    """Run the first of its commands that the host has, and keep what it prints; how it ended, and which one it was.

    Raises Unreachable where the connection is gone, Interrupted, and ProgramFailed where nothing can be written here.
    """
    if wanted.most is not None:
        limits = replace(limits, item=wanted.most)
    said = ""
    for argv in wanted.tries:
        done = fetch(shell, ["sh", "-c", _ASK, "sh", *argv], into, limits, wanted.seconds)
        if into.size or not (done.code == _NOT_THERE or (argv[0] == "cat" and _NO_SUCH_FILE in done.said)):
            return _judged(done, into), argv
        said = said or done.said
    names = ", ".join(dict.fromkeys(argv[-1] if argv[0] == "cat" else argv[0] for argv in wanted.tries))
    return Ended(Outcome.MISSING, said if said and _NO_SUCH_FILE not in said else f"{names}: not on this host"), wanted.tries[0]


def _judged(done: Done, into: Arriving) -> Ended:
    because = done.cut or (f"it ended with {done.code}{': ' if done.said else ''}{done.said}" if done.code else "")
    if into.size:
        return Ended(Outcome.COLLECTED, because, into.size, into.sha256, cut=bool(done.cut))
    return Ended(Outcome.FAILED, because, cut=bool(done.cut)) if because else Ended(Outcome.EMPTY, "it ended well and printed nothing")


def fetch(shell: Any, argv: Sequence[str | bytes], into: Arriving, limits: Limits, seconds: float) -> Done:
    """Standard output of a command into a file."""
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
        return Done("", result.code, last_said(result.errors), result.errors)
    except Full:
        return Done(f"cut off at the limit of {most:,} bytes")
    except Unreachable:
        if not late:
            raise
        return Done(f"cut off after {time.monotonic() - begun:.0f} seconds")
    except ProgramFailed as error:
        if error.where == str(into.path):  # our own disk, not the host
            raise
        return Done("", 1, shown(error.message)[:_LONGEST])
    finally:
        into.close()


def last_said(text: str) -> str:
    """The last line that says something, harmless."""
    lines = [line.strip() for line in text.replace("\0", "").splitlines()
             if line.strip() and not line.startswith("opsctl ") and not re.fullmatch(r"[0-9a-f]{64}  -", line)]
    return shown(lines[-1])[:_LONGEST] if lines else ""


@value
class Entered:
    """A host that is ready to be asked: its shell, what it says it is, how far its clock is off (seconds), and a note for people."""

    shell: Any
    device: Mapping[str, str]
    clock_off: float | None
    note: str


def enter(shell: Any, clock: Callable[[], Any]) -> Entered:
    """Log in and ask who it is. Where root is refused the account itself has to do, which the note says.

    Raises Unreachable, Refused.
    """
    note = ""
    words = ["sh", "-c", _ASK, "sh", *DEVICE]
    try:
        result = shell.run(words, timeout=_ANSWER, accept=None)
    except Refused as error:
        if shell.here or not getattr(shell, "sudo", False):
            raise
        shell = shell.plain()
        note = f"not as root, so that some of it stays out of reach: {error.message}"
        result = shell.run(words, timeout=_ANSWER, accept=None)
    now = clock()
    device: dict[str, str] = {}
    for line in result.text[:20_000].splitlines():
        key, colon, said = line.partition(": ")
        if colon and re.fullmatch(r"[a-z_]{1,20}", key) and said.strip():
            text = shown(said.strip())[:200]
            device[key] = f"{device[key]}; {text}" if key in device and len(device[key]) < 500 else device.get(key, text)
    epoch = device.pop("epoch", "")
    off = int(epoch) - now.timestamp() if epoch.isascii() and epoch.isdigit() and len(epoch) < 13 else None
    return Entered(shell, device, round(off, 1) if off is not None else None, note)
