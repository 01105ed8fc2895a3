"""The directory that a restart of the machine empties: where locks lie, and spools until they are adopted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

ADOPTED_MARK = "adopted"
"""A file in a spool whose lines are in the journal by now: what comes later goes to the next one."""


def runtime_directory(euid: int, environ: Mapping[str, str]) -> Path:
    """Where a user's locks lie: ``/run/opsctl`` for root, else the runtime directory, else one in ``/tmp``.

    It has to be the same one for all processes of the user: cron sets no XDG_RUNTIME_DIR, a login does.
    """
    if euid == 0:
        return Path("/run/opsctl")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{euid}"
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        return Path(runtime) / "opsctl"
    return Path(f"/tmp/opsctl-{euid}")


def spools(directory: Path, scope: str) -> list[Path]:
    """The spools of a state directory, oldest first."""
    found = {int(match[1]): path for path in directory.glob(f"spool-{scope}-*")
             if (match := re.fullmatch(rf"spool-{re.escape(scope)}-(\d+)", path.name))}
    return [found[number] for number in sorted(found)]


def open_spool(directory: Path, scope: str) -> Path | None:
    """The spool that has lines and was not adopted; None where there is none."""
    found = [path for path in spools(directory, scope) if not (path / ADOPTED_MARK).exists() and spool_file(path).exists()]
    return found[-1] if found else None


def next_spool(directory: Path, scope: str) -> Path:
    """Where the next lines go: the open spool, or a new one, which is not made here."""
    known = spools(directory, scope)
    if known and not (known[-1] / ADOPTED_MARK).exists():
        return known[-1]
    return directory / f"spool-{scope}-{int(known[-1].name.rpartition('-')[2]) + 1 if known else 1}"


def spool_file(place: Path) -> Path:
    """The journal in a spool, which is one file."""
    return place / "journal" / "000001.jsonl"
