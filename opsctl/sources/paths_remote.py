"""Files and folders of another machine as a source: looked at there, and backed up by restic there."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsctl.errors import OpsError, ProgramFailed
from opsctl.repositories.interface import Repository
from opsctl.shells.local import last_words
from opsctl.shells.ssh import SshShell
from opsctl.sources.interface import Captured, Context, Problem
from opsctl.sources.paths import NOTHING, Eyes, Paths, Seen

_LOOK = 60.0  # seconds: a mount of a dead server hangs
_MISSING = "No such file or directory"
_NOT_BELOW = "Not a directory"


class RemotePaths(Paths):
    """As ``Paths``, on the machine ``there``, which has restic and a repository of its own."""

    def __init__(
        self,
        name: str,
        *,
        paths: Sequence[str],
        exclude: Sequence[str],
        at_least: Mapping[str, int | None] | None,
        marker: str | None,
        mountpoint: bool | str | None,
        shell: Any,
        there: SshShell,
        sealed: Sequence[str] = (),
    ) -> None:
        super().__init__(name, paths=paths, exclude=exclude, at_least=at_least, marker=marker, mountpoint=mountpoint,
                         shell=shell, sealed=sealed)
        self.there = there

    @property
    def eyes(self) -> Eyes:
        return HostEyes(self.there)

    @property
    def here(self) -> bool:
        return False

    def repository(self, context: Context) -> Repository:
        found = context.repository.on(self.there)
        found.unlock_stale()
        return found

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        try:
            return [self._named(problem) for problem in super().check(previous)]
        except OpsError as error:
            if error.code in (130, 143):
                raise
            return [Problem(error.code, error.message, hint=error.hint)]

    def capture(self, context: Context) -> Captured:
        captured = super().capture(replace(context, host=self.there.name))
        return replace(captured, problems=tuple(self._named(problem) for problem in captured.problems))

    def _named(self, problem: Problem) -> Problem:
        return replace(problem, message=f"on {self.there.name}: {problem.message}")


class HostEyes:
    """Another machine's files, seen through ``stat`` and ``ls``: as root where the host allows it."""

    def __init__(self, shell: SshShell) -> None:
        self._shell = shell

    def look(self, path: str) -> Seen:
        path = os.path.normpath(path)
        mode, trouble = self._mode(path)
        if mode is None:
            return Seen(path, "missing", trouble=trouble)
        if stat.S_ISLNK(mode):
            target = self._shell.plain().run(["readlink", "-f", "--", path], accept=None, timeout=_LOOK).text.strip()
            return Seen(path, "link", target=target)
        if not stat.S_ISDIR(mode):
            return Seen(path, "file")
        return Seen(path, "folder", empty=self._is_empty(path), mounted=self.is_mount(path))

    def is_mount(self, path: str) -> bool:
        found = self._stat("%d %i", path, os.path.join(path, ".."))
        lines = found.splitlines()
        if len(lines) != 2:
            return False
        (device, number), (above, its) = (line.split() for line in lines)
        mode, _ = self._mode(path)
        return mode is not None and not stat.S_ISLNK(mode) and (device != above or number == its)

    def is_there(self, path: str) -> bool:
        return self._mode(path)[0] is not None

    def is_folder(self, path: str) -> bool:
        found = self._stat("%f", path, follow=True).strip()
        return bool(found) and stat.S_ISDIR(int(found, 16))

    def _mode(self, path: str) -> tuple[int | None, str]:
        """Its mode, or None and the system's word where it could not be looked at."""
        result = self._shell.run(["stat", "-c", "%f", "--", path], accept=None, timeout=_LOOK)
        if result.code == 0:
            try:
                return int(result.text, 16), ""
            except ValueError as error:
                raise ProgramFailed(f"stat on {self._shell.name} does not answer as it should", where=self._shell.name) from error
        said = last_words(result.stderr).rpartition(": ")[2]
        return None, "" if said in (_MISSING, _NOT_BELOW) else said

    def _stat(self, what: str, *paths: str, follow: bool = False) -> str:
        argv = ["stat", *(["-L"] if follow else []), "-c", what, "--", *paths]
        return self._shell.run(argv, accept=None, timeout=_LOOK).text

    def _is_empty(self, path: str) -> bool:
        """False also where it cannot be read: restic will say so, and then it is in the summary."""

        def enough(name: bytes) -> None:
            if name.decode(errors="replace") not in NOTHING:
                raise _Enough

        try:
            return self._shell.run(["ls", "-A", "--", path], accept=None, timeout=_LOOK, on_line=enough).code == 0
        except _Enough:
            return False


class _Enough(Exception):
    """One name is enough."""
