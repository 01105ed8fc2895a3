"""Files searched with YARA's rules, by a process of its own that may fail at a file and go on behind it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.errors import ConfigError, ProgramFailed, Unreachable
from opsctl.model.snapshots import Progress
from opsctl.scanning import yara_reader
from opsctl.scanning.interface import MOST, Finding, Scanned, Unread, mark, not_scanned, shown
from opsctl.shells.interface import Shell

SHIPPED = Path(__file__).parent / "rules"
ENDINGS = (".yar", ".yara")
#: Files at which the reading process may break or hang before the scan itself has failed.
_BROKEN = 20
#: Seconds that a file may take beyond the time that YARA has for it: for its hash, and on a slow disk.
_GRACE = 60.0
_PACE = 0.5


def rule_files(folder: Path) -> list[Path]:
    """The files of rules in a folder and below it, in order. OSError where it cannot be read."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        found += [Path(place, name) for name in names if name.endswith(ENDINGS)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


class Scanner:
    """``rules`` is the site's own folder, beside the rules that are shipped. Constructors only store."""

    def __init__(self, shell: Shell, *, rules: Path | None = None, largest: int, timeout: float) -> None:
        self.shell = shell
        self.rules = rules
        self.largest = largest
        self.timeout = timeout

    def check(self) -> int:
        """How many files of rules there are. ConfigError where one does not compile, with every mistake by file and line."""
        files = self._files()
        self._pass({}, files, _Gathered(None))
        return len(files)

    def scan(self, roots: Mapping[str, Path], on_progress: Callable[[Progress], None] | None = None) -> Scanned:
        """Every regular file below the roots; no link is followed.

        Raises ConfigError (rules), ProgramFailed (the reading process cannot be started, or breaks again and again), Interrupted.
        """
        files, gathered = self._files(), _Gathered(on_progress)
        while not self._pass(roots, files, gathered):
            if gathered.at is None:
                raise ProgramFailed(f"the files could not be scanned: {gathered.words or 'the process that reads them ended at once'}",
                                    hint="is yara-x installed? opsctl doctor tells")
            gathered.break_here()
            if gathered.broken > _BROKEN:
                raise ProgramFailed(f"the scan broke at {gathered.broken} files, the last of them {gathered.unread[-1].path}: {gathered.words}",
                                    hint="look at that file where it can do no harm")
        if gathered.lost:
            raise ProgramFailed("the files changed while they were scanned", hint="scan again when nobody writes there")
        return gathered.scanned(len(files))

    def _files(self) -> list[Path]:
        found = rule_files(SHIPPED)
        if self.rules is not None:
            try:
                own = rule_files(self.rules)
            except OSError as error:
                raise ConfigError(f"the folder of YARA rules cannot be read: {error.strerror}", where=str(self.rules),
                                  hint="scan: {rules: …} names it") from error
            found += own
        return found

    def _pass(self, roots: Mapping[str, Path], files: Sequence[Path], gathered: _Gathered) -> bool:
        """One process, from behind the file where the last one ended; whether it came to its end."""
        asked = {"rules": [str(file) for file in files], "include": [str(self.rules)] if self.rules is not None else [],
                 "roots": [(name, str(folder)) for name, folder in roots.items()], "largest": self.largest,
                 "timeout": max(1, round(self.timeout)), "after": gathered.after}
        gathered.begin()
        try:
            result = self.shell.run([sys.executable, "-P", str(Path(yara_reader.__file__))], stdin=json.dumps(asked).encode(),
                                    accept=None, on_line=gathered.take, give_up=lambda: gathered.idle() > self.timeout + _GRACE)
            gathered.words = result.errors.strip().splitlines()[-1][:300] if result.errors.strip() else f"it ended with {result.code}"
        except Unreachable:
            gathered.words = "it hung"
        if gathered.mistakes:
            raise ConfigError("YARA rules that do not compile", problems=gathered.mistakes, where=gathered.mistakes[0].rpartition(": ")[0],
                              hint="mend them or take them out; nothing was scanned")
        return gathered.done


class _Gathered:
    """What the reading process has told so far, over all passes."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.on_progress = on_progress
        self.findings: dict[str, Finding] = {}
        self.unread: list[Unread] = []
        self.mistakes: list[str] = []
        self.more = self.broken = 0
        self.files = self.bytes = self.others = 0
        self.at: bytes | None = None
        self.after: list[str] | None = None
        self.done = self.lost = False
        self.words = ""
        self._before = (0, 0, 0)
        self._shown = self._heard = 0.0

    def begin(self) -> None:
        self.at, self.done, self._heard = None, False, time.monotonic()
        self._before = self.files, self.bytes, self.others

    def idle(self) -> float:
        return time.monotonic() - self._heard

    def take(self, line: bytes) -> None:
        self._heard = time.monotonic()
        if line.startswith(b'{"at"'):
            self.at = line
            if self.on_progress is not None and self._heard - self._shown > _PACE:
                self._shown = self._heard
                self._count(json.loads(line))
                self.on_progress(Progress("scanning", bytes_done=self.bytes, files_done=self.files))
            return
        said = json.loads(line)
        if "found" in said:
            self._find(said)
        elif "unread" in said:
            source, path = said["unread"]
            self._leave(source, path, said["kind"], said["why"], said.get("sha256", ""))
        elif "mistakes" in said:
            self.mistakes = said["mistakes"]
        else:
            self._count(said)
            self.others = self._before[2] + said["others"]
            self.done, self.lost = True, said["lost"]

    def break_here(self) -> None:
        """The file that the process was at, when it ended before its time, counts as not scanned."""
        assert self.at is not None, "asked only where there was one"
        said = json.loads(self.at)
        self._count(said)
        self.files += 1
        self.broken += 1
        source, path = self.after = said["at"]
        self._leave(source, path, "broken", f"the scanner broke at it: {self.words}", "")

    def _count(self, said: Mapping[str, Any]) -> None:
        self.files, self.bytes = self._before[0] + said["files"], self._before[1] + said["bytes"]

    def _find(self, said: Mapping[str, Any]) -> None:
        source, path = said["found"]
        place = shown(source, path)
        one = Finding(mark(said["rule"], place, said["sha256"]), source, place, said["rule"], said["from"], said["description"],
                      said["offset"], said["size"], said["sha256"])
        if one.id in self.findings:
            return
        if len(self.findings) < MOST:
            self.findings[one.id] = one
        else:
            self.more += 1

    def _leave(self, source: str, path: str, kind: str, why: str, sha256: str) -> None:
        place = shown(source, path)
        if len(self.unread) < MOST:
            self.unread.append(Unread(mark(not_scanned(kind), place, sha256), source, place, kind, why, sha256))
        else:
            self.more += 1

    def scanned(self, rules: int) -> Scanned:
        return Scanned(self.files, self.bytes, self.others, rules, tuple(self.findings.values()), tuple(self.unread), self.more)
