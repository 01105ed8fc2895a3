"""A command's output into a repository through the guard, together with what has to be proven at its side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from opsctl.errors import OpsError, ProgramFailed
from opsctl.model.snapshots import BackupSummary
from opsctl.shells.interface import Shell, Word
from opsctl.shells.relay_codes import RELAYS_OWN
from opsctl.sources import guard
from opsctl.sources.interface import Context

Proven = TypeVar("Proven")

_BAD_DUMP = (guard.FAILED, guard.EMPTY, guard.CUT, guard.UNREADABLE)


@dataclass(frozen=True)
class Dumped(Generic[Proven]):
    """What is in the repository now: restic's summary, the guard's report, and what was proven meanwhile."""

    summary: BackupSummary
    snapshot: str
    report: Mapping[str, Any]
    proven: Proven


def store(
    context: Context,
    what: Sequence[Word],
    *,
    filename: str,
    prove: Callable[[], Proven],
    cancel: Callable[[], None],
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    there: Shell | None = None,
) -> Dumped[Proven]:
    """Back up the output of a command (``["--", *argv]``) or a file (``["--file", path]``) as ``filename``.

    ``prove`` runs at the same time in a thread. The dump is not kept before it has succeeded, and is ended at
    once when it fails; whatever it raises is raised here. Where the dump fails ``cancel`` is called, which
    has to end ``prove`` early. Raises ProgramFailed where the dump died, wrote nothing, or lacks its end;
    then there is no snapshot. ``there``: the machine that the command is relayed to (``Shell.streamed``); Unreachable
    and Refused where that is the trouble.
    """
    report_file = context.scratch / f"{filename}.report"
    consent = context.scratch / f"{filename}.consent"
    os.mkfifo(consent, 0o600)
    # Opened for both, so that neither side waits for the other to come, and it never looks closed while we
    # live.
    words = os.open(consent, os.O_RDWR | os.O_CLOEXEC)
    argv: list[Word] = [
        sys.executable,
        "-I",
        "-S",
        guard.__file__,
        "--report",
        str(report_file),
        "--consent",
        str(consent),
        *options,
        *what,
    ]

    def proven_or_told() -> Proven:
        word = b"0"
        try:
            found = prove()
            word = b"1"
            return found
        finally:
            os.write(words, word)

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="proof") as beside:
            proof = beside.submit(proven_or_told)
            try:
                summary = context.repository.backup_command(
                    argv,
                    filename=filename,
                    env=env,
                    tags=context.tags,
                    host=context.host,
                    on_progress=context.on_progress,
                )
            except BaseException as error:
                report = _read(report_file)
                if report.get("code") == guard.NO_CONSENT:
                    proof.result()  # raises why
                cancel()
                if isinstance(error, OpsError):
                    raise _failure(error, report, there) from error
                raise
            return Dumped(summary, _kept(summary), _read(report_file), proof.result())
    finally:
        os.close(words)
        consent.unlink()


def _kept(summary: BackupSummary) -> str:
    if summary.snapshot is None:
        raise ProgramFailed("restic kept no snapshot of the dump")
    return summary.snapshot


def _read(path: Path) -> dict[str, Any]:
    """The guard's report; empty where it did not come to write one."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _failure(error: OpsError, report: Mapping[str, Any], there: Shell | None) -> OpsError:
    """The guard knows better than restic what was wrong with a dump; other trouble is the repository's."""
    if not isinstance(error, ProgramFailed) or report.get("code") not in _BAD_DUMP:
        return error
    said = [line for line in str(report.get("errors", "")).splitlines() if line.strip()]
    if there is not None and not there.here and report.get("exit_code") in RELAYS_OWN:
        told, _, hint = (_harmless(said[-1]) if said else f"{there.name} is not there").partition("; ")
        return RELAYS_OWN[report["exit_code"]](told, hint=hint or None, where=there.name)
    message = str(report["message"]) + (f": {_harmless(said[0])}" if said else "")
    return ProgramFailed(
        message,
        hint=error.hint,
        details={**error.details, "code": report["code"], "said": [_harmless(line) for line in said[-20:]]},
    )


def _harmless(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line).strip()[:500]
