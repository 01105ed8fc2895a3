"""The proof of a file tree by content: every file hashed again against the ids of the chunks that its snapshot is made of."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.model.values import value
from opsctl.proofs.content import files_below, of_file
from opsctl.repositories.interface import OnProgress, Repository
from opsctl.sources.interface import Difference

_ODD = "\ufffd"
#: Differences that are kept; of more there is only the number.
MOST = 1000
#: What a set holds of a strange file.
NOTHING = "nothing"

_WORDS: Mapping[str, tuple[str, Callable[[int], bool]]] = {
    "file": ("a file", stat.S_ISREG), "dir": ("a folder", stat.S_ISDIR), "symlink": ("a symbolic link", stat.S_ISLNK),
    "fifo": ("a pipe", stat.S_ISFIFO), "socket": ("a socket", stat.S_ISSOCK), "dev": ("a device", stat.S_ISBLK),
    "chardev": ("a device", stat.S_ISCHR),
}


@value
class Hashed:
    """``files``: how many files have the content of the set. ``more``: differences that are not listed."""

    files: int
    differences: tuple[Difference, ...]
    more: int = 0


def compare(
    repository: Repository, snapshot: str, place: Path, *, below: str | None = None, check: Callable[[], None] = lambda: None,
    on_progress: OnProgress | None = None,
) -> Hashed:
    """Hold everything at ``place`` against a snapshot, or against a folder ``below`` which it became.

    Content of every file, what sort of thing each path is, and what is there besides. Where links lead is not told by a
    repository's listing, and not compared. ``check`` is called now and then, and ends it by raising.
    """
    if wrong := _wrong(place, "", "dir", 0):
        return Hashed(0, (Difference(str(place), wrong.expected, wrong.found),))
    compared = repository.compare_files(snapshot, place, below=below, on_progress=on_progress)
    found = {path: Difference(path, "its content as in the set", _instead(place, path)) for path in compared.different}
    known: set[int] = set()
    names: dict[str, int] = {}
    untold = -compared.equal - len(compared.different) - compared.more
    for path, kind, size, inode in _listed(repository, snapshot, below):
        check()
        known.add(hash(path))
        untold += kind == "file" and path not in compared.unsure
        if path in found:
            continue
        if wrong := _wrong(place, path, kind, size):
            found[path] = wrong
        elif kind == "file" and size and path in compared.unsure:
            names[path] = inode
    if untold:
        raise ProgramFailed(f"restic did not tell of {abs(untold):,} files whether they are as in snapshot {snapshot[:8]}",
                            hint="another version of restic may; `opsctl verify --level drill` restores and verifies anew")
    others = _other_names(repository, snapshot, below, place, names, found, check) if names else {}
    listed = [*found.values(), *others.values()]
    more = compared.more + max(0, len(listed) - MOST)
    for one in _strange(place, known, check):
        if len(listed) < MOST:
            listed.append(one)
        else:
            more += 1
    return Hashed(compared.equal + len(names) - len(others), tuple(listed[:MOST]), more)


def _listed(repository: Repository, snapshot: str, below: str | None) -> Iterator[tuple[str, str, int, int]]:
    """Path (from ``below`` on), type, size and inode of every entry."""
    for node in repository.ls(snapshot, below):
        path = node.path if below is None else node.path[len(below.rstrip("/")):]
        if path.startswith("/"):
            yield path, node.type, node.size, node.inode


def _wrong(place: Path, path: str, kind: str, size: int) -> Difference | None:
    """What can be seen of a path without reading it."""
    words, is_it = _WORDS.get(kind, ("something", lambda mode: True))
    there = _found(place, path)
    if not there:
        return Difference(path, words, "missing")
    found = os.lstat(there[0])
    if len(there) > 1:
        return None  # names that are no UTF-8, which the listing does not tell apart; their content was compared all the same
    if not is_it(found.st_mode):
        return Difference(path, words, _what(found.st_mode))
    if kind == "file" and found.st_size != size:
        return Difference(path, f"{size:,} bytes", f"{found.st_size:,} bytes")
    return None


def _found(place: Path, path: str) -> list[str]:
    """What is on disk under a path as restic tells it, where each byte of a name that is no UTF-8 is a U+FFFD."""
    if _ODD not in path:
        return [f"{place}{path}"] if os.path.lexists(f"{place}{path}") else []
    folders = [str(place)]
    for part in path.strip("/").split("/"):
        if _ODD not in part:
            folders = [f"{folder}/{part}" for folder in folders if os.path.lexists(f"{folder}/{part}")]
        else:
            folders = [f"{folder}/{name}" for folder in folders if os.path.isdir(folder) and not os.path.islink(folder)
                       for name in os.listdir(folder) if told(name) == part]
    return folders


def told(name: str) -> str:
    """A path as restic tells it."""
    return "".join(_ODD if "\udc80" <= mark <= "\udcff" else mark for mark in name)


def _what(mode: int) -> str:
    return next((words for words, is_it in _WORDS.values() if is_it(mode)), "something else")


def _instead(place: Path, path: str) -> str:
    there = _found(place, path)
    if not there:
        return "missing"
    mode = os.lstat(there[0]).st_mode
    return "other content" if stat.S_ISREG(mode) else _what(mode)


def _other_names(
    repository: Repository, snapshot: str, below: str | None, place: Path, names: Mapping[str, int], wrong: Mapping[str, Difference],
    check: Callable[[], None],
) -> dict[str, Difference]:
    """Further names of files with several: each has to be the same file as its first name, or one of the same content."""
    wanted = set(names.values())
    firsts: dict[int, list[str]] = {}
    for path, kind, _, inode in _listed(repository, snapshot, below):
        if kind == "file" and inode in wanted and path not in names:
            firsts.setdefault(inode, []).append(path)
    found = {}
    for path, inode in names.items():
        check()
        equal = [first for first in firsts.get(inode, ()) if first not in wrong]
        if not all(any(_same(name, known, check) for first in equal for known in _found(place, first)) for name in _found(place, path)):
            found[path] = Difference(path, f"the content of {' or '.join(firsts.get(inode, ['its other name']))}", "other content")
    return found


def _same(one: str, other: str, check: Callable[[], None]) -> bool:
    first, second = os.lstat(one), os.lstat(other)
    if os.path.samestat(first, second):
        return True
    return first.st_size == second.st_size and of_file(one, check).sha256 == of_file(other, check).sha256


def _strange(place: Path, known: set[int], check: Callable[[], None]) -> Iterator[Difference]:
    """Files that the set does not hold."""
    for name, _ in files_below(place):
        check()
        text = f"/{told(os.fsdecode(name))}"
        if hash(text) not in known:
            yield Difference(text, NOTHING, "a file that the set does not hold")
