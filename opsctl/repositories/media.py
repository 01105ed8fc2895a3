"""The register of media in the state directory, and the hashes of what lies on one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from opsctl.errors import DamagedData, ProgramFailed
from opsctl.model.media import FOLDER, Medium, listed, medium
from opsctl.model.unknown import unknown
from opsctl.plain_file import open_plain, read_plain
from opsctl.repositories.whole import system_said_no, write_whole

_PIECE = 1 << 20
_NOT_SEALED = frozenset({"locks"})
"""Folders of a repository that come and go."""


class Media:
    """``media/NAME.json`` for each medium, and ``media/NAME.sha256`` with what was on it when it left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def all(self) -> list[Medium]:
        """Every medium by name. DamagedData where an entry cannot be read."""
        return [self._read(path) for path in sorted(self.directory.glob("*.json"))]

    def get(self, name: str) -> Medium:
        """One medium. UsageError where there is none of that name."""
        path = self.directory / f"{name}.json"
        if not path.exists():
            raise unknown("medium", name, (one.stem for one in self.directory.glob("*.json")), hint="opsctl media list")
        return self._read(path)

    def find(self, name: str) -> Medium | None:
        path = self.directory / f"{name}.json"
        return self._read(path) if path.exists() else None

    def put(self, entry: Medium) -> None:
        """Write an entry whole. Raises ProgramFailed."""
        write_whole(self.directory / f"{entry.name}.json", json.dumps(entry.as_json(), indent=1).encode() + b"\n")

    def put_list(self, name: str, content: bytes) -> None:
        write_whole(self.directory / f"{name}.sha256", content)

    def sealed_list(self, entry: Medium) -> bytes:
        """What was on it when it left. DamagedData where that is gone, or is not what was sealed."""
        path = self.directory / f"{entry.name}.sha256"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedData(f"the list of what is on {entry.name} cannot be read: {error.strerror}", where=str(path),
                              hint=f"the disk carries a signed copy of it in {FOLDER}/; `opsctl media register` takes it in") from error
        if entry.sealed is None or hashlib.sha256(content).hexdigest() != entry.sealed.digest:
            raise DamagedData(f"the list of what is on {entry.name} is not the one that was sealed", where=str(path),
                              hint=f"the disk carries a signed copy of it in {FOLDER}/; `opsctl media register` takes it in")
        return content

    def _read(self, path: Path) -> Medium:
        try:
            return medium(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedData(f"{path} cannot be read: {error}", where=str(path),
                              hint="the journal tells where the medium is; move the file away and register it again") from error


def files_of(root: Path, folders: list[Path]) -> list[Path]:
    """Every file of these repositories, as paths below ``root``, without locks. ProgramFailed where a folder cannot be read."""
    found: list[Path] = []

    def no(error: OSError) -> None:
        raise system_said_no(error)

    for folder in folders:
        for place, inner, names in os.walk(folder, onerror=no):
            inner[:] = sorted(one for one in inner if not (Path(place) == folder and one in _NOT_SEALED))
            found += (Path(place, name).relative_to(root) for name in names)
    return sorted(found)


def hashes(root: Path, paths: list[Path], on_bytes: Callable[[int], None]) -> Iterator[tuple[str, str]]:
    """Each path with the SHA-256 of its content, read from the disk. ``on_bytes`` is told of every piece.

    A file that cannot be read is said to be ``unreadable`` in place of a hash.
    """
    for path in paths:
        digest = hashlib.sha256()
        try:
            with open_plain(root / path) as source:
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what is on the disk, not what we remember of it
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    on_bytes(len(piece))
        except OSError:
            yield str(path), "unreadable"
            continue
        yield str(path), digest.hexdigest()


def write_beside(root: Path, name: str, content: bytes, signature: str) -> None:
    """Leave the signed list on the disk itself. Raises ProgramFailed."""
    place = root / FOLDER
    try:
        place.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise system_said_no(error, place) from error
    write_whole(place / f"{name}.sha256", content)
    write_whole(place / f"{name}.sha256.sig", signature.encode())


def read_beside(root: Path, name: str) -> tuple[bytes, str] | None:
    """The list and its signature as they lie on the disk; None where there is none. Raises ProgramFailed."""
    path = root / FOLDER / f"{name}.sha256"
    try:
        return read_plain(path), read_plain(path.with_name(f"{path.name}.sig")).decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProgramFailed(f"{error.filename or path} cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise ProgramFailed(f"{path}: {error}", where=str(path)) from error


__all__ = ["Media", "files_of", "hashes", "listed", "read_beside", "write_beside"]
