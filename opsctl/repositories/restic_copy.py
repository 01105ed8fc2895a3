"""Copying snapshots from one restic repository into another, which needs both of them answering."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.errors import Busy, ConfigError, DamagedData, OpsError, Refused, SafetyRefusal
from opsctl.model.snapshots import Progress
from opsctl.repositories import restic_failures
from opsctl.repositories.interface import OnProgress
from opsctl.repositories.restic_failures import NO_LIMIT

if TYPE_CHECKING:
    from opsctl.repositories.restic import Restic

_BLOB = re.compile(r"decrypting blob <[^>]*> from [0-9a-f]+ failed[^)]*")
_PACKS = re.compile(rb"\s(\d+) / (\d+) packs copied")
_SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")


def copy(
    source: Restic, target: Restic, snapshot_ids: Sequence[str], expected: int | None, on_progress: OnProgress | None
) -> None:
    """Copy snapshots in the order given. What is in the target already is not copied again.

    ``expected``: about how many bytes that is, for the progress. Raises as every call does, naming the repository
    that it was about, and SafetyRefusal where the two cut data up differently.
    """
    _refuse_other_chunks(source, target)
    source.make_sure()
    source.unlock_stale()
    doing = f"copy from {source.place}"

    def on_line(line: bytes) -> None:
        found = _PACKS.search(line)
        if found and on_progress is not None:
            done, total = int(found[1]), max(1, int(found[2]))
            bytes_done = expected * done // total if expected else 0
            on_progress(Progress(f"copy to {target.name}", bytes_done, expected or None))

    with reading(source, target) as env:
        try:
            result = target.call(doing, [*way(source, target), "copy", *snapshot_ids], accept=None, timeout=NO_LIMIT, on_line=on_line, env=env)
        except Refused as error:
            target.identity()  # says so where it is the target that refuses
            raise _of_source(source) or error from error
        except Busy as error:
            exclusive = [lock for lock in source.locks() if lock.exclusive]
            if exclusive and not any(lock.exclusive for lock in target.locks()):
                raise Busy(f"{source.place} is locked: {error.message}", hint=error.hint) from error
            raise
    if result.code == 0:
        return
    failure = target.failure(doing, result)
    if failure.code == 13:
        raise _of_source(source) or failure
    if isinstance(failure, DamagedData):
        raise _damage(source, target, failure) from failure
    raise failure


def _refuse_other_chunks(source: Restic, target: Restic) -> None:
    ours, theirs = target.place.pinned, source.place.pinned
    if ours is not None and theirs is not None and ours.chunker != theirs.chunker:
        raise SafetyRefusal(
            f"repository {target.name} cuts data up in another way than {source.name}: every copy would take its full size",
            hint=f"make {target.name} anew in an empty place: opsctl backup init gives it the parameters of {source.name}",
            where=target.name,
        )


@contextmanager
def reading(source: Restic, target: Restic) -> Iterator[dict[str, str]]:
    """The environment in which a restic call on ``target`` can read ``source`` beside it.

    restic takes one file of root certificates and one storage key for both. ConfigError where they need two keys.
    """
    keys = [end.program.storage for end in (source, target)]
    if keys[0] and keys[1] and keys[0] != keys[1]:
        raise ConfigError(
            f"restic cannot copy from {source.name} to {target.name}: it takes one access key for both stores",
            hint="give the same access key to both, or copy from a local or REST repository",
        )
    env = source.program.as_source()
    ours, theirs = source.program.cacert, target.program.cacert
    if ours is None or ours == theirs:
        yield env
        return
    others = Path(theirs) if theirs is not None else _SYSTEM_ROOTS
    with tempfile.NamedTemporaryFile(suffix=".pem") as bundle:
        for part in (Path(ours), others):
            bundle.write(part.read_bytes().rstrip() + b"\n" if part.exists() else b"")
        bundle.flush()
        yield {**env, "RESTIC_CACERT": bundle.name}


def way(source: Restic, target: Restic) -> Sequence[str]:
    """What a call on ``target`` has to be told so that restic finds its way into ``source``, too."""
    return () if target.program.way else source.program.way


def _of_source(source: Restic) -> OpsError | None:
    try:
        source.identity()
    except OpsError as error:
        return error
    return None


def _damage(source: Restic, target: Restic, failure: DamagedData) -> DamagedData:
    """Both ends are read; a look into the source tells whether it is the one. Packs are read in the source alone."""
    found = restic_failures.suspicious(source.store, ("index", "snapshots"), None) if source.store else []
    which = f"; {found[0].message}" if found else ""
    blob = _BLOB.search(failure.message)
    message = (f"data in {source.place} cannot be read ({blob[0]}), so it was not copied to {target.name}" if blob
               else f"{failure.message} (while copying from {source.place})")
    return DamagedData(
        f"{message}{which}",
        hint=f"opsctl verify {source.name} --level data names what is damaged", where=source.name, details=failure.details,
    )
