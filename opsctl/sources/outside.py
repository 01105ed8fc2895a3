"""A site's own program: run with a time limit, what it says kept short and free of the secrets we know."""

from __future__ import annotations

import collections
import hashlib
import os
import selectors
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from opsctl.errors import OpsError, ProgramFailed, Unreachable
from opsctl.model.quantities import format_duration
from opsctl.model.values import value
from opsctl.shells.interface import Session, Shell

_LINES = 20  # of what a program says are kept, the last ones
_WIDTH = 500  # letters of a line
_BUFFER = 1 << 20
_MASK = "********"
_LOOK = 0.5  # seconds between two looks whether we were told to stop

# Both streams in their order, as a person would see them; standard error alone has no end that we could set.
_TOGETHER = 'exec "$@" 2>&1'


@value
class Told:
    """How a program ended well: seconds, and the last lines that it said."""

    seconds: float
    said: tuple[str, ...]


@value
class Fed:
    """What a program took from standard input."""

    told: Told
    bytes: int
    sha256: str


def run(
    shell: Shell,
    argv: Sequence[str],
    *,
    what: str,
    limit: float,
    env: Mapping[str, str] | None = None,
    secrets: Collection[str] = (),
) -> Told:
    """Run a program to its end; all that it started ends with it.

    ``what`` is what messages call it. Raises ProgramFailed (it is not there, it said no, or it took longer than
    ``limit`` seconds; ``details["said"]`` holds its last lines), Interrupted.
    """
    lines: collections.deque[bytes] = collections.deque(maxlen=_LINES)
    begun = time.monotonic()
    words = ["/bin/sh", "-c", _TOGETHER, "sh", *argv]
    try:
        result = shell.run(words, env=env, timeout=limit, accept=None, on_line=lambda line: lines.append(line[:4096]))
    except Unreachable as error:
        raise _late(what, limit, _shown(lines, secrets)) from error
    return _judged(what, result.code, time.monotonic() - begun, _shown(lines, secrets))


def feed(
    shell: Shell,
    argv: Sequence[str],
    file: Path,
    *,
    what: str,
    limit: float,
    env: Mapping[str, str] | None = None,
    secrets: Collection[str] = (),
) -> Fed:
    """Run a program with the content of a file on its standard input, counted and hashed as it goes in.

    As ``run``; ProgramFailed as well where the program ends well without having taken everything.
    """
    with open(file, "rb", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        fed = feed_pieces(shell, argv, iter(lambda: source.read(_BUFFER), b""), what=what, limit=limit, env=env, secrets=secrets)
        if fed.bytes < size:
            raise _unread(what, fed)
    return fed


def feed_pieces(
    shell: Shell,
    argv: Sequence[str],
    pieces: Iterable[bytes],
    *,
    what: str,
    limit: float,
    env: Mapping[str, str] | None = None,
    secrets: Collection[str] = (),
) -> Fed:
    """The same with pieces that are made as they are taken."""
    begun = time.monotonic()
    digest, count = hashlib.sha256(), 0
    tail, whole = bytearray(), True
    with shell.open(["/bin/sh", "-c", _TOGETHER, "sh", *argv], env=env) as session:
        for piece in pieces:
            taken = _push(shell, session, piece, tail, begun + limit)
            digest.update(piece[:taken])
            count += taken
            if not (whole := taken == len(piece)):
                break
        result = session.close(max(0.0, begun + limit - time.monotonic()))
    shell.check()
    said = _shown((bytes(tail) + result.stdout)[-_LINES * 4096 :].split(b"\n")[-_LINES - 1 :], secrets)
    seconds = time.monotonic() - begun
    if seconds >= limit:
        raise _late(what, limit, said)
    fed = Fed(_judged(what, result.code, seconds, said), count, digest.hexdigest())
    if not whole:
        raise _unread(what, fed)
    return fed


def _unread(what: str, fed: Fed) -> OpsError:
    return ProgramFailed(f"{what} ended after {fed.bytes:,} bytes without an error, and before it had everything",
                         hint="does it read standard input to its end?", details={"said": list(fed.told.said)})


def _push(shell: Shell, session: Session, piece: bytes, tail: bytearray, deadline: float) -> int:
    """Send a piece and take what the program says meanwhile; how many bytes went in before it stopped reading."""
    left = memoryview(piece)
    into, out = session.stdin.fileno(), session.stdout.fileno()
    os.set_blocking(into, False)
    with selectors.DefaultSelector() as waiting:
        waiting.register(into, selectors.EVENT_WRITE)
        waiting.register(out, selectors.EVENT_READ)
        while left and time.monotonic() < deadline:
            shell.check()
            for key, _ in waiting.select(min(_LOOK, max(0.0, deadline - time.monotonic()))):
                if key.fd == into:
                    try:
                        left = left[os.write(into, left) :]
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        return len(piece) - len(left)
                elif heard := os.read(out, 1 << 16):
                    tail += heard
                    del tail[: -_LINES * 4096]
                else:
                    waiting.unregister(out)
    return len(piece) - len(left)


def _judged(what: str, code: int, seconds: float, said: tuple[str, ...]) -> Told:
    if code == 0:
        return Told(round(seconds, 3), said)
    how = f"failed ({code})" if code > 0 else f"was ended by signal {-code}"
    last = f": {said[-1]}" if said else ": it said nothing"
    raise ProgramFailed(f"{what} {how}{last}", details={"exit_code": code, "said": list(said)})


def _late(what: str, limit: float, said: tuple[str, ...]) -> OpsError:
    took = format_duration(timedelta(seconds=limit))
    return ProgramFailed(f"{what} did not finish within {took} and was ended", details={"said": list(said)},
                         hint="does it wait for something? its limit can be raised in the configuration")


def _shown(lines: Collection[bytes], secrets: Collection[str]) -> tuple[str, ...]:
    """The last lines that say something, harmless to show and to keep."""
    shown = []
    for line in lines:
        text = line.decode("utf-8", "replace")
        for secret in secrets:
            if secret:
                text = text.replace(secret, _MASK)
        text = "".join(mark if mark.isprintable() else " " for mark in text).strip()[:_WIDTH]
        if text:
            shown.append(text)
    return tuple(shown[-_LINES:])




def mask(error: OpsError, secrets: Collection[str]) -> None:
    """Take secrets out of what a failed program was quoted with."""
    for secret in secrets:
        if secret:
            error.message = error.message.replace(secret, _MASK)
            error.args = (error.message,)
            said = error.details.get("said")
            if said:
                error.details["said"] = [str(line).replace(secret, _MASK) for line in said]


def filled(argv: Sequence[str], **places: str) -> list[str]:
    """The words with ``${name}`` replaced; one pass, so that what is put in is never looked into."""
    words = []
    for word in argv:
        pieces = word.split("${")
        filled = pieces[0]
        for piece in pieces[1:]:
            name, end, rest = piece.partition("}")
            filled += f"{places[name]}{rest}" if end and name in places else "${" + piece
        words.append(filled)
    return words
