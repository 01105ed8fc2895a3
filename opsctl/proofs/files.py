"""The proof of a file tree: how many files, how many bytes, counted as restic counts them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.model.values import value
from opsctl.sources.interface import Difference, difference

ALGORITHM = "restic-tree"
_LISTED = 100


@value
class Count:
    """What is below a place. ``unreadable`` holds (directory, reason), at most a hundred of them."""

    files: int
    bytes: int
    unreadable: tuple[tuple[str, str], ...] = ()


def proof(files: int, bytes_: int) -> dict[str, Any]:
    """The proof of a tree; the caller, who has seen the snapshot, adds its ``tree``."""
    return {"kind": "files", "algorithm": ALGORITHM, "files": files, "bytes": bytes_}


def count(*places: str | bytes | Path) -> Count:
    """Count regular files and their sizes below the places, which may be files themselves.

    As restic does: each name of a hard-linked file counts, with its full size; sizes are apparent ones (a
    hole counts); directories, symbolic links, pipes, sockets and devices count nothing, and no link is
    followed. Memory grows with the directories still to be read, not with the files.
    """
    files = total = 0
    unreadable: list[tuple[str, str]] = []
    waiting: list[bytes] = []
    for place in places:
        found = os.lstat(place)
        if stat.S_ISDIR(found.st_mode):
            waiting.append(os.fsencode(place))
        elif stat.S_ISREG(found.st_mode):
            files, total = files + 1, total + found.st_size
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        files += 1
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError as error:
            if len(unreadable) < _LISTED:
                unreadable.append((os.fsdecode(directory), error.strerror or str(error)))
    return Count(files, total, tuple(unreadable))


def compare(expected: Mapping[str, Any], found: Count) -> Sequence[Difference]:
    """Hold a recorded proof against what was counted."""
    return [
        *(Difference(where, "a readable directory", reason) for where, reason in found.unreadable),
        *difference("files", expected["files"], found.files),
        *difference("bytes", expected["bytes"], found.bytes),
    ]
