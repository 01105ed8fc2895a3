"""Putting one snapshot into a repository: read the exit code, then the summary, then the store."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from opsctl.errors import DamagedData, ProgramFailed
from opsctl.model.quantities import counted
from opsctl.model.snapshots import BackupSummary
from opsctl.repositories import restic_failures, restic_output
from opsctl.repositories.interface import OnProgress
from opsctl.repositories.restic_failures import NO_LIMIT, Caller
from opsctl.repositories.restic_gate import Gate
from opsctl.repositories.restic_output import Said, Status
from opsctl.repositories.restic_program import Program
from opsctl.shells.interface import Result, Word


class _CommandFailed(ProgramFailed):
    """The command that restic ran for us failed; the message is how it ended."""


class Backup:
    """One call of ``restic backup``.

    Without ``--parent`` it is told ``--force``: otherwise restic would look for the latest snapshot, and one
    planted object stops that.
    """

    def __init__(
        self,
        caller: Caller,
        program: Program,
        scratch: Path | None,
        tags: Sequence[str],
        host: str,
        on_progress: OnProgress | None,
    ) -> None:
        self._caller = caller
        self._program = program
        self._scratch_parent = scratch
        self._tags = tags
        self._host = host
        self._on_progress = on_progress

    def paths(self, paths: Sequence[Word], excludes: Sequence[str], parent: str | None) -> BackupSummary:
        """Files and folders."""
        doing = "back up " + ", ".join(ascii(path)[1:-1] for path in paths[:3])
        options = [word for exclude in excludes for word in ("--exclude", exclude)]
        if self._on_progress is None:
            options.append("--no-scan")  # it only counts what the progress is measured by
        known = [os.fsdecode(path) for path in paths]
        if parent is not None:
            result, output, status = self._run(doing, [*options, "--parent", parent, "--", *paths])
            if "failed to load snapshot" not in result.errors:
                return self._summary(doing, result, output, status, known)
            self._caller.notes.append("the snapshot to compare with cannot be read; everything was read anew")
        result, output, status = self._run(doing, [*options, "--force", "--", *paths])
        return self._summary(doing, result, output, status, known)

    def command(self, argv: Sequence[Word], filename: str, env: Mapping[str, str] | None) -> BackupSummary:
        """What a command writes."""
        name = os.path.basename(os.fsdecode(argv[0]))
        with self._scratch() as scratch:
            errors = scratch / "errors"
            words = self._program.as_child(argv, errors)
            try:
                found = self._stdin(f"store the dump of {os.path.splitext(filename)[0]}", words, filename, env)
            except _CommandFailed as error:
                said = _last_lines(errors)
                raise ProgramFailed(
                    f"{name} failed ({error.message}): {'; '.join(said) or 'it said nothing'}",
                    details={"program": name, "said": said},
                ) from error
            if found.bytes == 0:
                said = _last_lines(errors)
                raise ProgramFailed(
                    f"{name} wrote nothing" + (f": {'; '.join(said)}" if said else ""),
                    details={"program": name, "said": said, "stray": [found.snapshot]},
                )
        return found

    def document(self, content: bytes, filename: str) -> BackupSummary:
        """Bytes from memory."""
        if not content:
            raise ValueError("an empty document cannot be told from a failed backup")
        # From a file and a command, not through a pipe of ours: where we are killed, restic would take the
        # end of the pipe for the end of the document.
        with self._scratch() as scratch:
            document = scratch / "document"
            _put(document, content)
            found = self._stdin(f"store {filename}", ["cat", str(document)], filename, None)
        if found.bytes != len(content):
            raise ProgramFailed(f"restic stored {found.bytes} of {len(content)} bytes of {filename}")
        return found

    def folder(self, make: Callable[[], bytes], filename: str, beside: Path) -> BackupSummary:
        """Bytes as a file of this name in a folder, and all that lies there: in the snapshot, at its top.

        ``make`` is called while restic opens the repository.
        """
        doing = f"store {filename}"
        _put(beside / filename, b"")  # what is not there when restic is called is left out
        names = sorted(path.name for path in beside.iterdir())
        with ThreadPoolExecutor(1) as pool, Gate() as gate:
            running = pool.submit(self._run, doing, ["--no-scan", "--force", *gate.options, "--", *names], cwd=str(beside))
            _put(beside / filename, make())
            size = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
            gate.open()
            result, output, status = running.result()
        found = self._summary(doing, result, output, status, names)
        if found.unreadable or found.bytes != size:
            raise ProgramFailed(f"restic stored {found.bytes} of {size} bytes of {filename} and what belongs to it",
                                details={"stray": [found.snapshot]})
        return found

    def _stdin(
        self, doing: str, argv: Sequence[Word], filename: str, env: Mapping[str, str] | None
    ) -> BackupSummary:
        options = ["--force", "--stdin-filename", filename, "--stdin-from-command", "--"]
        result, output, status = self._run(doing, [*options, *argv], env)
        return self._summary(doing, result, output, status, ())

    def _run(
        self, doing: str, more: Sequence[Word], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> tuple[Result, Said, Status]:
        for tag in self._tags:
            if "," in tag or not tag:
                raise ValueError(f"{tag!r} is no tag: restic splits tags at commas")
        words: list[Word] = ["backup", "--json", "--host", self._host]
        words += [word for tag in self._tags for word in ("--tag", tag)]
        if self._on_progress is None:
            words.append("--quiet")
        status = Status(doing, self._on_progress)
        result = self._caller.call(
            doing, [*words, *more], accept=None, timeout=NO_LIMIT, env=env, on_line=status.take, cwd=cwd
        )
        return result, status.said(), status

    def _summary(
        self, doing: str, result: Result, output: Said, status: Status, paths: Sequence[str]
    ) -> BackupSummary:
        """The snapshot that was made; raises where there is none."""
        place = self._caller.place
        errors = restic_output.sort_lines(result.stderr)
        found = restic_output.summary(output, errors, paths)
        if result.code in (0, 3) and found is not None and found.snapshot is not None:
            self._look_again(found.snapshot)
            if found.anew:
                self._caller.notes.append(
                    f"the repository lacks parts of what the set before holds of {counted(len(found.anew), 'path')}, first"
                    f" {ascii(found.anew[0])[1:-1]}: read at the source and stored again"
                )
            return found
        if (ended := restic_output.command_failure(errors)) is not None:
            raise _CommandFailed(ended)
        if result.code in (0, 3):
            raise ProgramFailed(f"restic could not {doing} ({place}): it ended without naming a snapshot")
        if restic_failures.NO_SPACE.search(result.errors):
            free = place.store.free() if place.store else None
            raise restic_failures.no_space(f"no space left for {place}", free, status.missing())
        raise self._caller.failure(doing, result)

    def _look_again(self, snapshot_id: str) -> None:
        place = self._caller.place
        if place.store is not None and place.store.digest("snapshots", snapshot_id) != snapshot_id:
            raise DamagedData(
                f"restic says that it saved snapshot {snapshot_id[:8]}, but it is not in {place}",
                hint="is another program removing files there?",
                details={"kind": "snapshot-deleted", "object": f"snapshots/{snapshot_id}"},
            )

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A private directory for what restic's children read and write."""
        try:
            if self._scratch_parent is not None:
                self._scratch_parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = tempfile.TemporaryDirectory(prefix="opsctl-", dir=self._scratch_parent)
        except OSError as error:
            where = self._scratch_parent or tempfile.gettempdir()
            raise ProgramFailed(f"nothing can be written into {where}: {error.strerror}") from error
        with directory as path:
            yield Path(path)


def _put(document: Path, content: bytes) -> None:
    """Write a document of ours to where restic reads it."""
    try:
        document.write_bytes(content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise ProgramFailed(f"{document} cannot be written: {error.strerror}") from error
        free = shutil.disk_usage(document.parent).free
        raise restic_failures.no_space(f"no space left in {document.parent}", free, len(content)) from error


def _last_lines(path: Path, count: int = 5) -> list[str]:
    """The end of what a command complained."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = [line.strip() for line in restic_output.clean(text).split("\n")]
    return [line for line in lines if line][-count:]
