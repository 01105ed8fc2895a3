"""Getting files out of a snapshot, with the lost ones named.

restic's summary of a restore claims success where files failed; its exit code and its errors do not, and what
was asked for is looked for afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from opsctl.errors import DamagedData, OpsError, ProgramFailed
from opsctl.model.quantities import counted
from opsctl.repositories import restic_failures, restic_output
from opsctl.repositories.interface import OnProgress
from opsctl.repositories.restic_failures import NO_LIMIT, Caller, Reader
from opsctl.repositories.restic_output import Status
from opsctl.shells.interface import Result, Word


def restore(
    caller: Caller, snapshot_id: str, target: Path, include: Sequence[Word], on_progress: OnProgress | None
) -> None:
    """As ``Repository.restore`` promises."""
    wanted = [os.fsencode(path) for path in include]
    words: list[Word] = ["restore", "--json", "--no-lock", "--verify", "--sparse", "--target", str(target)]
    for path in wanted:
        words += ["--include", restic_output.pattern(path)]
    if on_progress is None:
        words.append("--quiet")
    status = Status(f"restoring {snapshot_id[:8]}", on_progress)
    doing = f"restore snapshot {snapshot_id[:8]}"
    result = caller.call(doing, [*words, snapshot_id], accept=None, timeout=NO_LIMIT, on_line=status.take)
    errors = restic_output.restore_errors(restic_output.sort_lines(result.stderr).objects)
    if result.code or errors:
        raise _failure(caller, snapshot_id, target, result, errors, status)
    if not wanted:
        return
    base = os.fsencode(target)
    absent = [path for path in wanted if not os.path.lexists(base + b"/" + path.lstrip(b"/"))]
    if absent:
        shown = [_shown(path) for path in absent]
        raise ProgramFailed(
            f"not in snapshot {snapshot_id[:8]}: {', '.join(shown)}",
            details={"missing": shown},
            hint="list the snapshot to see what is in it",
        )


def dump_to(caller: Reader, snapshot_id: str, path: str, target: Path) -> None:
    """As ``Repository.dump_to`` promises."""
    doing = f"read {path} of snapshot {snapshot_id[:8]}"
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    words = ["dump", "--no-lock", "--target", str(partial), snapshot_id, "--", path]
    try:
        result = caller.call(doing, words, accept=None, timeout=NO_LIMIT)
        if result.code and restic_failures.NO_SPACE.search(result.errors):
            sizes = [node.size for node in caller.ls(snapshot_id, path) if node.path == path]
            raise restic_failures.no_space(
                f"no space left in {target.parent}", _free(target.parent), sizes[0] if sizes else None
            )
        if result.code:
            raise caller.failure(doing, result)
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _failure(
    caller: Caller,
    snapshot_id: str,
    target: Path,
    result: Result,
    errors: Mapping[str, str],
    status: Status,
) -> OpsError:
    """Whether it was the target or the repository, and which files."""
    if restic_failures.NO_SPACE.search(result.errors):
        return restic_failures.no_space(f"no space left in {target}", _free(target), status.missing())
    if not errors:
        return caller.failure(f"restore snapshot {snapshot_id[:8]}", result)
    files = sorted(errors)
    if all(restic_output.is_about_target(message) for message in errors.values()):
        return ProgramFailed(
            f"{counted(len(files), 'file')} could not be written into {target}: {files[0]}: {errors[files[0]]}",
            details={"files": files},
        )
    more = ", …" if len(files) > 3 else ""
    return DamagedData(
        f"{counted(len(files), 'file')} of snapshot {snapshot_id[:8]} could not be restored from {caller.place}:"
        f" {', '.join(files[:3])}{more}",
        details={"files": files, "snapshot": snapshot_id},
        hint="run opsctl verify: it names what is damaged; another copy may still have them",
    )


def _free(directory: Path) -> int | None:
    """Bytes that an ordinary user may still write."""
    with suppress(OSError):
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize
    return None


def _shown(path: bytes) -> str:
    return ascii(os.fsdecode(path))[1:-1]
