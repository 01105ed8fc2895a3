"""Many small files of a host by one command: a command each would cost more than they do."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from opsctl.actions.fetching import Found
from opsctl.errors import ProgramFailed

_SMALL = 1 << 20         # bytes of a file that comes with others
_TOGETHER = 32 << 20     # bytes of all that come at once; they are held in memory until the host has said that they stood still
_NAMES = 90_000          # bytes of names in one command line
_LOOK = 300.0

_LOOK_AGAIN = r"""sha256sum -z -- "$@" 2>/dev/null; printf '\0'; stat --printf '%Y %s %i %a %u %g\0%n\0' -- "$@" 2>/dev/null"""
_STAT = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15}) ([0-9]{1,20}) ([0-7]{1,6}) ([0-9]{1,10}) ([0-9]{1,10})")
_SUM = re.compile(rb"([0-9a-f]{64}) [ *](.+)", re.DOTALL)


def batches(found: Sequence[Found]) -> Iterator[tuple[bool, list[Found]]]:
    """The files in their order: (whether they can come together, which)."""
    batch: list[Found] = []
    size = names = 0
    for one in found:
        small = one.modified is not None and stat.S_ISREG(one.mode) and 0 < one.size <= _SMALL
        if batch and (not small or size + one.size > _TOGETHER or names + len(one.path) > _NAMES):
            yield len(batch) > 1, batch
            batch, size, names = [], 0, 0
        if small:
            batch.append(one)
            size, names = size + one.size, names + len(one.path) + 8
        else:
            yield False, [one]
    if batch:
        yield len(batch) > 1, batch


def together(shell: Any, files: Sequence[Found]) -> dict[bytes, tuple[bytes, dict[str, Any]]]:
    """Content of each, and what the host says of it, of those that are here as they stand there, before and after.

    The others (written to meanwhile, unreadable, a tool that is not there) are left out. Raises Unreachable, Interrupted,
    ProgramFailed.
    """
    here = _read(shell, files)
    if not here:
        return {}
    result = shell.run(["sh", "-c", _LOOK_AGAIN, "sh", *here], accept=None, timeout=_LOOK)
    said, _, facts = result.stdout.partition(b"\0\0")
    sums = {match[2]: match[1].decode() for one in said.split(b"\0") if (match := _SUM.fullmatch(one))}
    words = facts.split(b"\0")
    stats = {path: match for told, path in zip(words[::2], words[1::2], strict=False) if (match := _STAT.fullmatch(told))}
    found = {}
    for one in files:
        content, after = here.get(one.path), stats.get(one.path)
        if content is None or after is None or sums.get(one.path) != hashlib.sha256(content).hexdigest():
            continue
        if (int(after[1]), int(after[2])) == (one.modified, one.size):
            state = {"bytes": one.size, "modified": one.modified, "inode": after[3].decode(), "mode": after[4].decode(), "uid": int(after[5]),
                     "gid": int(after[6])}
            found[one.path] = (content, {"sha256": sums[one.path], "before": state})
    return found


def _read(shell: Any, files: Sequence[Found]) -> dict[bytes, bytes]:
    """What ``tar`` brings of them; a member that is not what was found is left out."""
    wanted = {one.path.lstrip(b"/"): one for one in files}
    here: dict[bytes, bytes] = {}
    with shell.open(["sh", "-c", 'exec tar -cf - -- "$@"', "sh", *(one.path for one in files)]) as session:
        bounded: Any = _Bounded(session.stdout, sum(one.size for one in files) + (len(files) + 20) * 16_384)
        try:
            with tarfile.open(fileobj=bounded, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
                for member in archive:
                    one = wanted.get(os.fsencode(member.name).lstrip(b"/"))
                    if one is None or not member.isreg() or member.size != one.size or member.sparse is not None:
                        continue
                    content = archive.extractfile(member)
                    assert content is not None
                    here[one.path] = content.read(one.size + 1)
        except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError) as error:
            raise ProgramFailed(f"what tar sends is no archive: {error}") from error
        while bounded.read(1 << 16):  # a tar that cannot write ends as one that failed
            pass
    return {path: content for path, content in here.items() if len(content) == wanted[path.lstrip(b"/")].size}


class _Bounded:
    """A stream that ends where more comes than what was asked for can be: a host may send anything."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self._left = most

    def read(self, size: int) -> bytes:
        piece = self._source.read(min(size, self._left))
        self._left -= len(piece)
        return piece
