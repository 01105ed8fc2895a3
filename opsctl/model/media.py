"""Media that are carried away and brought back: who has which, since when, and what was on it when it left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from opsctl.model.due import elapsed, words
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

NAMESPACE = "medium@opsctl"
"""What the list of a medium's hashes is signed for."""
FOLDER = "opsctl-media"
"""The folder on a disk that its own signed list lies in."""

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@value
class Custody:
    """Where a medium is: ``here``, or ``out`` at ``place`` with ``holder``, until ``back``. Times are RFC 3339.

    ``by``: who said so, in which ``run``.
    """

    where: Literal["here", "out"]
    since: str
    by: str
    run: str | None = None
    holder: str | None = None
    place: str | None = None
    back: str | None = None


@value
class Sealed:
    """The list of everything on it, as it was when it left: ``digest`` is the SHA-256 of the list itself."""

    digest: str
    files: int
    bytes: int
    time: str
    run: str


@value
class Medium:
    """A disk by the UUID of its file system, or a tape by its barcode. ``mount``: where a disk is mounted.

    ``wrong``: what the last look at it found, in a line; None where it came back as it had left.
    """

    name: str
    kind: Literal["disk", "tape"]
    ident: str
    repositories: tuple[str, ...]
    registered: str
    custody: Custody
    label: str | None = None
    filesystem: str | None = None
    mount: str | None = None
    library: str | None = None
    sealed: Sealed | None = None
    wrong: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def medium(data: Mapping[str, Any]) -> Medium:
    """Read ``as_json``; raises KeyError, TypeError or ValueError on another shape."""
    sealed = Sealed(**data["sealed"]) if data.get("sealed") else None
    return Medium(**{**data, "repositories": tuple(data["repositories"]), "custody": Custody(**data["custody"]), "sealed": sealed})


def late(found: Medium, now: datetime) -> str | None:
    """Why a person should look for it: it was to be back, or came back changed."""
    if found.wrong:
        return found.wrong
    custody = found.custody
    if custody.where == "out" and custody.back and (over := elapsed(parse_time(custody.back), now)).total_seconds() > 0:
        return f"was to be back {words(over)} ago; {whereabouts(custody)}"
    return None


def whereabouts(custody: Custody) -> str:
    """``with Asha, at the treasury vault``."""
    if custody.where == "here":
        return "here"
    return ", ".join(filter(None, (custody.holder and f"with {custody.holder}", custody.place and f"at {custody.place}"))) or "out"


def listed(hashes: Iterable[tuple[str, str]]) -> bytes:
    """The list of (path, SHA-256) as ``sha256sum -c`` reads it."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(hashes)).encode()


def read_list(text: bytes) -> dict[str, str]:
    """Path to SHA-256. Raises ValueError where it is no such list."""
    found = {}
    for line in text.decode().splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"no line of a list: {line[:80]!r}")
        found[match[2]] = match[1]
    return found


@value
class Differences:
    """What is not as it was sealed: paths."""

    changed: Sequence[str] = ()
    missing: Sequence[str] = ()
    new: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.new)


def differences(sealed: Mapping[str, str], found: Mapping[str, str]) -> Differences:
    """Compare two lists. What is new is told, too: nobody was to write there."""
    return Differences(
        changed=sorted(path for path, digest in sealed.items() if path in found and found[path] != digest),
        missing=sorted(sealed.keys() - found.keys()), new=sorted(found.keys() - sealed.keys()))
