"""A repository as one stream of files, to a tape and back, by the site's own programs."""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

from opsctl.errors import DamagedData, OpsError, ProgramFailed
from opsctl.model.config_libraries import Library
from opsctl.model.quantities import format_duration
from opsctl.plain_file import open_plain
from opsctl.repositories.media import files_of
from opsctl.shells.interface import Shell
from opsctl.sources.outside import feed_pieces

_PIECE = 1 << 20
_FIRST = ("snapshots", "index")
"""What they name was stored before them: so these are listed first, and then what they need is there, whoever stores meanwhile."""

Told = Callable[[int], None]


class Tape:
    """One tape of a library. ``write`` and ``read`` take as long as it takes, ``library.limit`` at most."""

    def __init__(self, library: Library, name: str, barcode: str, shell: Shell) -> None:
        self.library = library
        self.name = name
        self.barcode = barcode
        self.shell = shell

    def write(self, root: Path, on_bytes: Told) -> dict[str, str]:
        """Write the files of a repository; path to SHA-256 of what was written.

        Raises ProgramFailed (the program's no, or a file that cannot be read), Interrupted.
        """
        found: dict[str, str] = {}
        feed_pieces(self.shell, self._argv(self.library.write), _stream(root, listing(root), found, on_bytes), what=f"the write: of {self.name}",
                    limit=self.library.limit.total_seconds())
        return found

    def read(self, on_bytes: Told, into: Path | None = None) -> dict[str, str]:
        """Read the tape back; path to SHA-256 of what came. ``into``: an empty folder that the files are put in.

        Raises ProgramFailed (the program's no), DamagedData (what comes is no such stream, or would lie elsewhere), Interrupted.
        """
        limit, begun = self.library.limit.total_seconds(), time.monotonic()
        found: dict[str, str] = {}
        problem: OpsError | None = None
        with self.shell.open(self._argv(self.library.read)) as session:
            try:
                with tarfile.open(fileobj=session.stdout, mode="r|", bufsize=_PIECE) as stream:
                    for entry in stream:
                        self.shell.check()
                        if time.monotonic() - begun > limit:
                            problem = self._late(limit)
                            break
                        found[entry.name] = _take(entry, stream, into, on_bytes)
                while problem is None and session.stdout.read(_PIECE):
                    pass
            except (tarfile.TarError, EOFError, ValueError) as error:
                problem = DamagedData(f"what {self.name} ({self.barcode}) holds is not what opsctl writes: {error}", where=self.name)
            result = session.close(0 if problem else max(1.0, limit - (time.monotonic() - begun)))
        self.shell.check()
        if result.code and not (isinstance(problem, ProgramFailed) or found):
            said = result.errors.strip().splitlines()
            raise ProgramFailed(f"the read: of {self.name} failed ({result.code}): {said[-1][:300] if said else 'it said nothing'}", where=self.name)
        if problem:
            raise problem
        if result.code:
            raise ProgramFailed(f"the read: of {self.name} failed ({result.code}) after {len(found)} files", where=self.name)
        return found

    def _argv(self, words: tuple[str, ...]) -> list[str]:
        return [word.replace("{barcode}", self.barcode) for word in words]

    def _late(self, limit: float) -> OpsError:
        return ProgramFailed(f"the read: of {self.name} did not finish within {format_duration(timedelta(seconds=limit))} and was ended",
                             where=self.name)


def listing(root: Path) -> list[Path]:
    """The files of a repository, relative to it."""
    found = dict.fromkeys(path for name in _FIRST for path in files_of(root, [root / name]))
    return list(found | dict.fromkeys(path for path in files_of(root, [root]) if path.parts[0] not in _FIRST))


def size(root: Path) -> int:
    """Bytes that a tape takes, without what the stream adds."""
    return sum((root / path).lstat().st_size for path in listing(root))


def _stream(root: Path, paths: list[Path], found: dict[str, str], on_bytes: Told) -> Iterator[bytes]:
    """A tar stream; ``found`` gets the hash of each file as it goes by."""
    for path in paths:
        digest = hashlib.sha256()
        with open_plain(root / path) as source:
            entry = tarfile.TarInfo(str(path))
            entry.size, entry.mode, entry.mtime = os.fstat(source.fileno()).st_size, 0o400, int(os.fstat(source.fileno()).st_mtime)
            yield entry.tobuf(tarfile.PAX_FORMAT)
            left = entry.size
            while left and (piece := source.read(min(_PIECE, left))):
                digest.update(piece)
                left -= len(piece)
                on_bytes(len(piece))
                yield piece
            if left:
                raise ProgramFailed(f"{root / path} became shorter while it was read", where=str(root / path))
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
        found[str(path)] = digest.hexdigest()
    yield bytes(2 * tarfile.BLOCKSIZE)


def _take(entry: tarfile.TarInfo, stream: tarfile.TarFile, into: Path | None, on_bytes: Told) -> str:
    """The hash of one file of the stream, which is put in its place below ``into``. ValueError for what is none of ours."""
    path = PurePosixPath(entry.name)
    source = stream.extractfile(entry)
    if not entry.isfile() or source is None or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{entry.name!r} in it")
    digest = hashlib.sha256()
    out = None
    try:
        if into is not None:
            (into / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            out = open(into / path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o400))
        while piece := source.read(_PIECE):
            digest.update(piece)
            on_bytes(len(piece))
            if out is not None:
                out.write(piece)
    finally:
        if out is not None:
            out.close()
    return digest.hexdigest()

