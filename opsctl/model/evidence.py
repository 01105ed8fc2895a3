"""Evidence as values: how each thing that was collected ended, its record of custody, and names that no host can do harm with."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote_from_bytes

from opsctl.model.values import value

FORMAT = "opsctl-evidence/1"
NAMESPACE = "evidence@opsctl"
"""What the tag manifest of a bag is signed for."""
HAND_NAMESPACE = "custody@opsctl"
"""What a hand-over is signed for."""
HALF = ".half"
"""Behind the name of a bag whose collecting was never ended."""

_PLAIN = re.compile(r"[A-Za-z0-9._+,@~-]")
_LONGEST = 200       # characters of a name in a bag; file systems take 255
_DEEPEST = 1500      # characters of a path in a bag; systems take 4096, the place of the bag included


@value
class Outcome:
    """How one thing ended: ``missing`` is a finding too (no such program or file), ``empty`` there and without content."""

    COLLECTED: ClassVar[str] = "collected"
    MISSING: ClassVar[str] = "missing"
    EMPTY: ClassVar[str] = "empty"
    FAILED: ClassVar[str] = "failed"


OUTCOMES = (Outcome.COLLECTED, Outcome.MISSING, Outcome.EMPTY, Outcome.FAILED)


@value
class Ended:
    """What came of one thing: ``because`` where it is not plainly collected; ``size`` bytes and ``sha256`` as they arrived.

    ``source``: what the host said of a file (``bytes``, ``sha256``, ``modified``, …). ``cut``: a limit ended it early.
    ``changed``: what was read here is not what stood there, before or after.
    """

    outcome: str
    because: str = ""
    size: int = 0
    sha256: str = ""
    source: Mapping[str, Any] | None = None
    cut: bool = False
    changed: bool = False


def counts(items: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many items ended how, in a fixed order, without zeros."""
    found = Counter(one["outcome"] for one in items)
    return {word: found[word] for word in OUTCOMES if found[word]}


def troubles(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Items that a person has to know of: failed, cut off by a limit, or changed while they were read."""
    return [one for one in items if one["outcome"] == Outcome.FAILED or one.get("cut") or one.get("changed_while_read")]


def percent(name: bytes | str) -> str:
    """A name of a host as a record holds it: every byte beyond the plainest percent-encoded, which can be turned back."""
    raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    return quote_from_bytes(raw, safe="/+,@:=")


def in_bag(path: bytes) -> str:
    """The path in a bag for one of a host: absolute, or any; below ``files/``, in letters that every tool takes alike.

    BagIt asks for percent signs to be encoded in manifests, which neither ``sha256sum -c`` nor the reference implementation
    undoes; so no name in a bag has one: a byte that is not plain is ``=0A``, as in quoted-printable. Two names never become
    one; what is too long is cut, and ends with a part of its own hash.
    """
    parts = [_part(part) for part in path.split(b"/") if part]
    whole = "/".join(["files", *parts])
    if len(whole) <= _DEEPEST:
        return whole
    return f"files/deep/{hashlib.sha256(path).hexdigest()[:32]}-{parts[-1][:120]}"


def _part(name: bytes) -> str:
    text = "".join(chr(byte) if _PLAIN.match(chr(byte)) else f"={byte:02X}" for byte in name)
    if text.startswith("."):  # `..` most of all; hidden files are easily overlooked
        text = f"=2E{text[1:]}"
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST - 20]}=={hashlib.sha256(name).hexdigest()[:16]}"


def bag_name(host: str, number: int) -> str:
    """The name of a host's bag with this number."""
    return f"{_part(host.encode())}-{number}"


def numbered(name: str, host: str) -> int:
    """The number of a bag, whole or half, of this host; 0 where it is of another."""
    found = re.fullmatch(r"(.+)-([1-9][0-9]{0,8})", name.removesuffix(HALF))
    return int(found[2]) if found and found[1] == _part(host.encode()) else 0


@value
class Finding:
    """One thing that is not as it was sealed: ``what`` is changed, missing, added, renamed, custody or seal; ``text`` tells."""

    bag: str
    what: str
    file: str
    text: str


def is_digest(text: str) -> bool:
    """Whether this is the SHA-256 of a file, and not why there is none."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def compared(bag: str, listed: Mapping[str, str], found: Mapping[str, str]) -> list[Finding]:
    """The files of a bag (path to SHA-256, or why it has none) against its lists. What is gone and new with the same content was renamed."""
    gone = sorted(listed.keys() - found.keys())
    new = sorted(found.keys() - listed.keys())
    findings = [Finding(bag, "changed", path, f"{path} was changed: {_instead(found[path], digest)}")
                for path, digest in sorted(listed.items()) if path in found and found[path] != digest]
    for path in gone:
        there = next((one for one in new if found[one] == listed[path]), None)
        if there is not None:
            new.remove(there)
            findings.append(Finding(bag, "renamed", path, f"{path} was renamed: it is {there} now"))
        else:
            findings.append(Finding(bag, "missing", path, f"{path} is missing"))
    return [*findings, *(Finding(bag, "added", path, f"{path} was added{'' if is_digest(found[path]) else f': {found[path]}'}") for path in new)]


def _instead(found: str, digest: str) -> str:
    return f"it is {found[:12]}…, and was {digest[:12]}…" if is_digest(found) else found


def bag_info(said: Sequence[tuple[str, str]]) -> bytes:
    """``bag-info.txt``: one line for each, whatever the text holds."""
    def plain(text: str) -> str:
        return "".join(mark if mark.isprintable() else "?" for mark in text)[:500]

    return "".join(f"{key}: {plain(text)}\n" for key, text in said).encode()
