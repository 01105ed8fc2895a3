"""write_tape: a repository on a tape, read back and compared before anybody relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsctl.actions.carrying import MediumParams, sealed_words, some
from opsctl.actions.interface import Change, StateAction, World
from opsctl.errors import DamagedData, SafetyRefusal, Unreachable
from opsctl.model.fields import Name
from opsctl.model.media import Custody, Medium, Sealed, differences, listed, read_list
from opsctl.model.quantities import format_size
from opsctl.model.snapshots import Progress
from opsctl.model.values import value
from opsctl.repositories.tape import Tape, size
from opsctl.repositories.whole import write_whole


class WriteTapeParams(MediumParams):
    """``library`` and ``repository`` are names in the configuration; ``barcode`` is what the library knows the tape by."""

    library: Name
    barcode: str
    repository: Name


@value
class Seen:
    """``written`` and ``proven`` by this run. ``bytes``: of the repository as it is now."""

    medium: Medium | None
    written: bool
    proven: bool
    bytes: int


class WriteTape(StateAction[WriteTapeParams, Seen]):
    """Writes a repository to a tape by the site's own program, reads it back, and keeps the hash of every file of it.

    with:
      medium      what the tape is called here
      library     the name of a library in the configuration (`libraries:`)
      barcode     the tape's
      repository  a repository in a folder of this machine, encrypted as it is

    A tape says nothing of itself without being read: what this run wrote and has read back is believed.
    """

    word = "write_tape"
    Params = WriteTapeParams

    def locks(self, params: WriteTapeParams) -> Sequence[str]:
        return (f"medium-{params.medium}", f"library-{params.library}")

    def observe(self, params: WriteTapeParams, world: World) -> Seen:
        root = _root(params, world)
        entry: Medium | None = world.media.find(params.medium)
        if entry is not None and (entry.kind, entry.ident) != ("tape", params.barcode):
            raise SafetyRefusal(f"{params.medium} is another medium already: {entry.kind} {entry.ident}", hint="choose another name")
        if entry is not None and entry.custody.where == "out":
            raise SafetyRefusal(f"{params.medium} is out", hint=f"opsctl media in {params.medium}", where=params.medium)
        note = _note(params, world)
        proven = entry is not None and entry.sealed is not None and entry.sealed.run == world.run
        return Seen(entry, bool(note) or proven, proven, size(root))

    def plan(self, params: WriteTapeParams, seen: Seen) -> list[Change]:
        write = Change("write", f"write {params.repository} ({format_size(seen.bytes)}) to the tape {params.barcode} of {params.library}")
        read = Change("read", f"read the tape {params.barcode} back and compare every file", () if seen.written else ("write",))
        return [] if seen.proven else [read] if seen.written else [write, read]

    def apply(self, params: WriteTapeParams, change: Change, world: World) -> None:
        root = _root(params, world)
        tape = Tape(world.config.libraries[params.library], params.medium, params.barcode, world.shell)
        if change.key == "write":
            written = tape.write(root, _meter(f"write {params.medium}", size(root), world))
            write_whole(world.keep("media") / f"{params.medium}.sha256", listed(written.items()))
            return
        content = _note(params, world)
        wanted = read_list(content)
        total = sum((root / path).lstat().st_size for path in wanted if (root / path).exists())
        found = differences(wanted, tape.read(_meter(f"read {params.medium} back", total, world)))
        if found:
            raise DamagedData(f"the tape {params.barcode} does not hold what was written: {some([*found.changed, *found.missing, *found.new])}",
                              hint="take another tape", where=params.medium)
        sealed = Sealed(hashlib.sha256(content).hexdigest(), len(wanted), total, world.now.isoformat(), world.run)
        moment = world.now.isoformat()
        known = world.media.find(params.medium) or Medium(
            name=params.medium, kind="tape", ident=params.barcode, repositories=(), registered=moment,
            custody=Custody("here", since=moment, by=world.by, run=world.run), library=params.library)
        world.media.put_list(params.medium, content)
        world.media.put(replace(known, repositories=(params.repository,), library=params.library, sealed=sealed, wrong=None))

    def result(self, params: WriteTapeParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "barcode": params.barcode, "library": params.library, "repository": params.repository,
                "sealed": sealed_words(seen.medium) if seen.proven and seen.medium is not None else None}


def _root(params: WriteTapeParams, world: World) -> Path:
    spec = world.config.repositories[params.repository]
    if not spec.local:
        raise SafetyRefusal(f"{params.repository} is not in a folder of this machine", where=params.repository,
                            hint="write a local copy of it to the tape: copies: in the configuration")
    if not Path(spec.url).is_dir():
        raise Unreachable(f"nothing is at {spec.url}", where=params.repository)
    return Path(spec.url)


def _note(params: WriteTapeParams, world: World) -> bytes:
    """The list of what this run has written; empty where that was not finished."""
    path = world.keep("media") / f"{params.medium}.sha256"
    return path.read_bytes() if path.exists() else b""


def _meter(what: str, total: int, world: World) -> Any:
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        world.progress(Progress(what, bytes_done=done, bytes_total=total))

    return on_bytes


