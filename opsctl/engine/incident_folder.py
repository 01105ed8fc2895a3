"""The folder of an incident for its copies: what belongs into them, laid out for a repository, and brought back from one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.errors import DamagedData
from opsctl.model.evidence import HALF
from opsctl.plain_file import read_plain, sha256_of
from opsctl.repositories.private import private_folder, remove_tree
from opsctl.repositories.whole import system_said_no, write_whole

PAGE = "incident.yaml"
"""Made anew from the entries whenever one is written."""
_HASHES, _KEPT, _COMING = ".hashes.json", ".kept.json", ".taking-over"
ASIDE = "taken-over"
"""Where files of another controller go whose names are taken by others of ours."""


class Folder:
    """``incidents/ID/``. What begins with a dot, in it or in one of its folders, is being made and belongs to no copy."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def files(self) -> tuple[dict[str, str], dict[str, str]]:
        """The SHA-256 of each file by its path in the folder, and why others are left out. Each file is read only once."""
        known = _read(self.place / _HASHES)
        found: dict[str, str] = {}
        left_out: dict[str, str] = {}
        marks: dict[str, Any] = {}
        for name, path in self._walk():
            try:
                if path.is_symlink() or not path.is_file() or not _is_text(name):
                    left_out[ascii(name)[1:-1]] = _why_not(name)
                    continue
                stat = path.stat()
                mark = [stat.st_size, stat.st_mtime_ns]
                before = known.get(name)
                digest = before[2] if isinstance(before, list) and before[:2] == mark else sha256_of(path)
            except OSError as error:
                left_out[ascii(name)[1:-1]] = str(error.strerror)
                continue
            found[name], marks[name] = digest, [*mark, digest]
        if marks != known:
            with contextlib.suppress(Exception):
                write_whole(self.place / _HASHES, json.dumps(marks).encode())
        return found, left_out

    def lay_out(self, files: Mapping[str, str], place: Path) -> None:
        """Put these files below ``place``: linked, where it lies on the same file system. Raises ProgramFailed."""
        for name in files:
            target = place / name
            try:
                private_folder(target.parent)
                _link(self.place / name, target)
            except OSError as error:
                raise system_said_no(error, target) from error

    def bring(self, files: Mapping[str, str], came: Path) -> list[str]:
        """Put restored files into the folder, each held against its hash before; the names of those that went aside.

        DamagedData, with nothing put there, where one is not what was signed.
        """
        there = came.resolve()
        wrong = [name for name, digest in files.items() if (came / name).resolve() != there / name or not (came / name).is_file() or sha256_of(came / name) != digest]
        if wrong:
            raise DamagedData(f"{len(wrong)} of the {len(files)} files are not what was signed: {', '.join(wrong[:5])}",
                              hint="another repository may have them: opsctl incident take-over --from NAME", where=str(came))
        aside = []
        for name, digest in files.items():
            target = self.place / name
            if target.is_file() and sha256_of(target) == digest:
                continue
            if os.path.lexists(target):
                aside.append(name)
                target = self.place / ASIDE / name
            try:
                private_folder(target.parent)
                os.replace(came / name, target)
            except OSError as error:
                raise system_said_no(error, target) from error
        return aside

    @contextlib.contextmanager
    def coming(self) -> Iterator[Path]:
        """An empty place on the same file system for what is being restored; what an attempt that was killed left there goes first."""
        place = self.place / _COMING
        if place.exists():
            remove_tree(place)
        private_folder(place)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):
                remove_tree(place)

    def has(self, files: Mapping[str, str], *, also_changed: bool) -> bool:
        """Whether all these files are in the folder, or were put aside. ``also_changed``: one of that name is enough."""
        there, _ = self.files()
        return all(digest in (there.get(name), there.get(f"{ASIDE}/{name}")) or (also_changed and name in there) for name, digest in files.items())

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """How the last try to keep it went, by repository: ``entries`` (that are there), ``files``, ``at``, ``trouble``."""
        return {name: one for name, one in _read(self.place / _KEPT).items() if isinstance(one, dict)}

    def note_kept(self, repository: str, **said: Any) -> None:
        """Note it; only for showing, so nothing is held up by a disk that is full."""
        with contextlib.suppress(Exception):
            found = self.kept
            write_whole(self.place / _KEPT, json.dumps({**found, repository: {**found.get(repository, {}), **said}}, indent=1).encode())

    def _walk(self) -> Iterator[tuple[str, Path]]:
        for folder, folders, names in os.walk(self.place):
            here = Path(folder)
            depth = len(here.relative_to(self.place).parts)
            folders[:] = sorted(one for one in folders if depth > 1 or not one.startswith("."))
            for name in [one for one in folders if one.endswith(HALF) or (here / one).is_symlink()]:
                yield str((here / name).relative_to(self.place)), here / name
            folders[:] = [one for one in folders if not one.endswith(HALF)]
            for name in sorted(names):
                path = here / name
                relative = str(path.relative_to(self.place))
                if relative != PAGE and (depth > 1 or not name.startswith(".")):
                    yield relative, path


def _why_not(name: str) -> str:
    if name.endswith(HALF):
        return "it was being collected"
    return "it is no file" if _is_text(name) else "its name is no UTF-8"


def _is_text(name: str) -> bool:
    return name.encode("utf-8", "replace").decode() == name


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, target)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
