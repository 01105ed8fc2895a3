"""What a run writes down before it renames anything: what stood where, what shall stand there, and what is kept as what."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.errors import ProgramFailed
from opsctl.repositories.whole import write_whole

#: The folders of a run's notes: of what it brings, and of what it puts back.
PROMOTE, ROLLBACK = "promote", "rollback"


class Notes:
    """The notes of one run, a file for each piece of each source. Whether anything in them came about, only a look can tell."""

    def __init__(self, folder: Path, source: str = "") -> None:
        self.folder = folder
        self.source = source

    def read(self, key: str) -> dict[str, Any]:
        """What is noted of a piece; empty where there is nothing. ProgramFailed where it cannot be read any more."""
        return _read(self._path(key)) or {}

    def write(self, key: str, content: Mapping[str, Any]) -> None:
        write_whole(self._path(key), json.dumps(content).encode())

    def add(self, key: str, **more: Any) -> None:
        self.write(key, {**self.read(key), **more})

    def all(self) -> Iterator[dict[str, Any]]:
        """Of every piece, in the order in which they were begun."""
        found = [note for path in self.folder.glob("*/*.json") if (note := _read(path)) is not None]
        yield from sorted(found, key=lambda note: (note["source"], note["number"]))

    def _path(self, key: str) -> Path:
        return self.folder / self.source / f"{hashlib.sha256(os.fsencode(key)).hexdigest()}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"{path}, which says what is kept as what, cannot be read",
                            hint="what was replaced is beside its place, under its dated name: rename it by hand") from error
