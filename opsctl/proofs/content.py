"""The proof of a dump that nobody here can read: its bytes, and their SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from opsctl.model.values import value
from opsctl.sources.interface import Difference, difference

KIND = "content"
#: What such a proof is worth, in the words that every command uses.
WORDS = "bytes proven, rows not"

_ALGORITHM = "sha256"
_MOST_LISTED = 1000
_BUFFER = 1 << 20


@value
class Content:
    """One file: bytes and SHA-256 (hex); ``mtime_ns`` as it was while it was read."""

    bytes: int
    sha256: str
    mtime_ns: int = 0


def of_stream(bytes_: int, sha256: str) -> dict[str, Any]:
    """The proof of one stream."""
    return {"kind": KIND, "algorithm": _ALGORITHM, "files": 1, "bytes": bytes_, "sha256": sha256}


def of_files(found: Mapping[bytes, Content]) -> dict[str, Any]:
    """The proof of a folder: names are relative to it. Up to a thousand files are listed, so that one can be named.

    ``sha256`` is that of the listing ``SHA-256, two spaces, name, NUL`` in the order of the names' bytes.
    """
    listing = hashlib.sha256()
    for name in sorted(found):
        listing.update(found[name].sha256.encode() + b"  " + name + b"\0")
    proof: dict[str, Any] = {
        "kind": KIND,
        "algorithm": f"{_ALGORITHM}-listing",
        "files": len(found),
        "bytes": sum(one.bytes for one in found.values()),
        "sha256": listing.hexdigest(),
    }
    if len(found) <= _MOST_LISTED:
        proof["listed"] = {shown(name): [one.bytes, one.sha256] for name, one in sorted(found.items())}
    return proof


def what_it_shows(proof: Mapping[str, Any]) -> str:
    """In words, for a person who has to know how much was proven."""
    files = f"{proof['files']:,} file{'' if proof['files'] == 1 else 's'}"
    return f"{proof['bytes']:,} bytes in {files} and their SHA-256: {WORDS}"


def is_content(proof: Mapping[str, Any]) -> bool:
    return proof.get("kind") == KIND


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[Difference]:
    """Every difference, file by file where both list them."""
    found = [
        *difference("files", expected["files"], actual["files"]),
        *difference("bytes", expected["bytes"], actual["bytes"]),
    ]
    wanted, have = expected.get("listed"), actual.get("listed")
    if wanted is not None and have is not None:
        for name in sorted(wanted.keys() | have.keys()):
            if name not in have or name not in wanted:
                there = "there", "missing"
                found.append(Difference(name, *(there if name in wanted else reversed(there))))
            elif list(wanted[name]) != list(have[name]):
                found.append(Difference(f"{name}, bytes and SHA-256", tuple(wanted[name]), tuple(have[name])))
    if expected["sha256"] != actual["sha256"]:
        found.append(Difference("SHA-256", expected["sha256"], actual["sha256"]))
    return found


def of_file(path: str | bytes | Path, check: Callable[[], None] = lambda: None) -> Content:
    """Read one regular file. ``check`` is called for every MiB and ends the reading by raising.

    OSError where it is something else by now: a link is not followed, and a pipe not waited for.
    """
    digest = hashlib.sha256()
    size = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", os.fsdecode(path))
        while piece := file.read(_BUFFER):
            check()
            digest.update(piece)
            size += len(piece)
        return Content(size, digest.hexdigest(), os.fstat(file.fileno()).st_mtime_ns)


def files_below(place: str | bytes | Path) -> Iterable[tuple[bytes, os.stat_result]]:
    """Everything below a folder that is no folder, as (relative name, its own stat); links are not followed."""
    waiting = [b""]
    root = os.fsencode(place)
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name) if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                else:
                    yield name, entry.stat(follow_symlinks=False)


def of_folder(place: str | bytes | Path, check: Callable[[], None] = lambda: None) -> dict[bytes, Content]:
    """Read every regular file below a folder, by relative name."""
    root = os.fsencode(place)
    return {
        name: of_file(os.path.join(root, name), check)
        for name, found in files_below(place)
        if stat.S_ISREG(found.st_mode)
    }


def shown(name: bytes) -> str:
    """A file name as JSON can hold it."""
    return name.decode("utf-8", "backslashreplace")
