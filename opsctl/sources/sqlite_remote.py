"""An SQLite database of another machine: copied there by SQLite itself, streamed here, proven and stored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, OpsError, Partial, ProgramFailed
from opsctl.model.snapshots import Progress
from opsctl.repositories.interface import OnProgress
from opsctl.shells.interface import Word
from opsctl.shells.local import last_words
from opsctl.shells.ssh import SshShell
from opsctl.sources import sqlite_there
from opsctl.sources.interface import Context, Problem
from opsctl.sources.sqlite import Sqlite, require_space
from opsctl.sources.table_signals import Columns

_LONGEST_HEADER = 4096

# Where there is no python3: the same promises from the sqlite3 program, in what dash, bash and busybox's ash share.
_BY_SQLITE3 = r"""
what=$1; path=$2; place=
trap 'if [ "$place" ]; then rm -rf "$place"; fi' EXIT
trap 'exit 143' HUP INT TERM
lacking() { printf '{"lacking": "%s"}\n' "$1"; exit 0; }
[ -e "$path" ] || lacking "does not exist"
[ -r "$path" ] || lacking "cannot be read: Permission denied"
[ -s "$path" ] || lacking "is empty"
version=$(sqlite3 -version | cut -d " " -f 1)
if [ "$what" = check ]; then
    size=$(sqlite3 -readonly -batch -cmd ".timeout 60000" "$path" \
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size") || exit 1
    printf '{"bytes": %s, "sqlite": "%s"}\n' "$size" "$version"
    exit 0
fi
place=$(mktemp -d "${TMPDIR:-/var/tmp}/opsctl-XXXXXX") || exit 1
cd "$place" || exit 1
sqlite3 -readonly -batch -bail -cmd ".timeout 60000" "$path" ".backup copy" || exit 1
exec 3<copy
printf '{"bytes": %s, "sqlite": "%s"}\n' "$(wc -c <copy)" "$version"
cd /
rm -rf "$place"
place=
cat <&3
"""


class RemoteSqlite(Sqlite):
    """The database at ``path`` of the machine ``there``."""

    def __init__(self, name: str, *, path: str, proof: str, shell: Any, there: SshShell) -> None:
        super().__init__(name, path=path, proof=proof, shell=shell)
        self.there = there

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        try:
            self._judge(self._run("check", _Header()))
        except Partial as error:
            return [Problem(3, error.message, hint=error.hint, paths=(self.path,))]
        except OpsError as error:
            if error.code in (130, 143):
                raise
            return [Problem(error.code, error.message, hint=error.hint, paths=(self.path,))]
        return []

    def sample(self) -> Columns:
        return ()

    def make_copy(self, copy: Path, context: Context) -> str:
        known = self._judge(self._run("check", _Header()))
        require_space(context.scratch, int(known["bytes"]))
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            header = self._run("copy", _Header(file, f"copying {self.name}", context.on_progress,
                                               lambda size: require_space(context.scratch, size)))
        found = self._judge(header)
        if header.taken != found["bytes"]:
            raise ProgramFailed(f"{self.path} on {self.there.name}: {header.taken:,} of {found['bytes']:,} bytes came",
                                where=self.there.name)
        return str(found["sqlite"])

    def _run(self, what: str, header: _Header) -> _Header:
        program = self.there.find("python3", "sqlite3")
        if program == "python3":
            argv: list[Word] = [program, "-I", "-c", Path(sqlite_there.__file__).read_text(), what, self.path]
            shell = self.there
        else:  # in a shell, which sudo is not to start
            argv, shell = ["/bin/sh", "-c", _BY_SQLITE3, "sh", what, self.path], self.there.plain()
        try:
            result = shell.run(argv, on_data=header.take, accept=None)
        except ProgramFailed as error:
            if error.details.get("exit_code") == 127:
                raise ProgramFailed(f"neither python3 nor sqlite3 is installed on {self.there.target.place}", where=self.there.name,
                                    hint=f"{self.name} is copied by SQLite itself, on its own machine: install one of them there") from error
            raise
        if result.code or header.said is None:
            raise ProgramFailed(f"{self.path} on {self.there.name} could not be copied: {last_words(result.stderr)}",
                                where=self.there.name)
        return header

    def _judge(self, header: _Header) -> Mapping[str, Any]:
        """What the host said of the database. Raises Partial, Busy, ProgramFailed."""
        found: Mapping[str, Any] = header.said or {}
        place = f"{self.path} on {self.there.name}"
        if "lacking" in found:
            hint = "has anything ever been stored in it?" if found["lacking"] == "is empty" else "is it mounted, and is the path right?"
            raise Partial(f"{place} {found['lacking']}", hint=hint, details={"paths": [self.path]})
        if "busy" in found:
            raise Busy(f"{place}: {found['busy']}", hint="which program holds it locked?")
        if "failed" in found:
            raise ProgramFailed(f"{place}: {found['failed']}", hint=found.get("hint"), where=self.there.name)
        return found


class _Header:
    """Takes a stream apart: one line of JSON, then bytes, which go into ``file``. It comes from a host, which may lie."""

    def __init__(self, file: Any = None, what: str = "", on_progress: OnProgress | None = None,
                 on_size: Callable[[int], None] | None = None) -> None:
        self.said: dict[str, Any] | None = None
        self.taken = 0
        self._file = file
        self._what = what
        self._on_progress = on_progress
        self._on_size = on_size  # may raise: more can come than the look before has seen
        self._begin = b""

    def take(self, piece: bytes) -> None:
        if self.said is None:
            self._begin += piece
            line, newline, piece = self._begin.partition(b"\n")
            if not newline and len(self._begin) <= _LONGEST_HEADER:
                return
            self.said = _parsed(line)
            if self._on_size is not None and "bytes" in self.said:
                self._on_size(self.said["bytes"])
        if not piece:
            return
        self.taken += len(piece)
        if self._file is None or self.taken > self.said.get("bytes", 0):
            raise ProgramFailed("more bytes came from the host than it had announced")
        self._file.write(piece)
        if self._on_progress is not None:
            self._on_progress(Progress(self._what, bytes_done=self.taken, bytes_total=self.said["bytes"]))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line[:_LONGEST_HEADER])
        words = {key: value for key, value in found.items() if key in ("lacking", "busy", "failed", "hint") and value is not None}
        if words:
            return {key: "".join(mark for mark in str(value) if mark.isprintable())[:300] for key, value in words.items()}
        return {"bytes": int(found["bytes"]), "sqlite": str(found["sqlite"])[:40]}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ProgramFailed("what came from the host is no copy of a database") from error
