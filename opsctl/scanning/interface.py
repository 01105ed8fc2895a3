"""What a scan of files finds, and how a finding is known again."""

from __future__ import annotations

import hashlib
import os
import re

from opsctl.model.values import value

#: Findings that are kept of one scan; of more there is only the number.
MOST = 1000


@value
class Finding:
    """What one rule found in one file: ``source`` is its root, ``path`` as ``shown`` gives it, ``offset`` the first byte that matched.

    ``id`` is the same as long as rule, source, path and content are.
    """

    id: str
    source: str
    path: str
    rule: str
    file: str
    description: str
    offset: int | None
    size: int
    sha256: str


@value
class Unread:
    """A file that was not scanned (to its end), and why: ``kind`` is ``large``, ``slow``, ``unreadable`` or ``broken``.

    ``sha256`` is empty where its content could not be read.
    """

    id: str
    source: str
    path: str
    kind: str
    why: str
    sha256: str


@value
class Scanned:
    """What came of a scan. ``others``: links, sockets, pipes and devices, which have no content; ``more``: findings not kept."""

    files: int
    bytes: int
    others: int
    rules: int
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    more: int


def shown(source: str, path: str) -> str:
    """A file of a source as text in which no two files are the same, and nothing that a terminal would act on."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    plain = "".join(mark if mark.isprintable() else mark.encode("unicode_escape", "surrogatepass").decode() for mark in text)
    return f"{source}/{plain}" if source else plain


def mark(rule: str, place: str, sha256: str) -> str:
    """The id of a finding: sixteen hexadecimal digits of its rule, its file (as ``shown``) and the file's content."""
    return hashlib.sha256("\0".join((rule, place, sha256)).encode()).hexdigest()[:16]


def not_scanned(kind: str) -> str:
    """What stands in the place of a rule, for a file that was not scanned."""
    return f"not-scanned:{kind}"


_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt]))")


def path_of(source: str, place: str) -> str:
    """The path below its source of a file that was ``shown`` so. ValueError where nothing is shown like that."""
    text = place.removeprefix(f"{source}/") if source else place
    path = os.fsdecode(_ESCAPED.sub(_plain, text).encode("utf-8", "surrogateescape"))
    if shown(source, path) != place:
        raise ValueError(f"{place!r} is no file of {source}")
    return path


def _plain(found: re.Match[str]) -> str:
    number = found[1] or found[2] or found[3]
    if number:
        return chr(int(number, 16))
    return {"n": "\n", "r": "\r", "t": "\t"}[found[4]] if found[4] else "\\"
