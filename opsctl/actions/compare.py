"""compare: whether files that look unchanged still hold what the newest set holds of them; a bounded spot check."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.restoring import find_set, refuse_small_disk
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, UsageError
from opsctl.model.part import Field
from opsctl.model.quantities import counted, format_size
from opsctl.model.snapshots import Node, parse_time
from opsctl.proofs.content import of_file

#: How many files are looked at for each one that is compared: most have changed in a busy tree.
_TRIES = 10
_LISTED = 100


class CompareParams(Params):
    """``source`` empty: every source of files. ``sample``: files of each; ``most``: bytes of each, read twice."""

    backup: str
    source: str = ""
    sample: int = Field(default=100, ge=1, le=1000)
    most: int = Field(default=1 << 30, ge=1)


@dataclass(frozen=True)
class Compared:
    """One source: files compared and their bytes, those that differ, and how many were not as the set knows them."""

    source: str
    files: int
    bytes: int
    different: tuple[str, ...]
    changed: int
    large: int


@dataclass(frozen=True)
class Seen:
    """What was compared with which set."""

    set: str
    set_time: str
    sources: tuple[Compared, ...]
    others: tuple[str, ...]


class Compare(CheckAction[CompareParams, Seen]):
    """Compares files, chosen by chance, with what the newest whole set holds of them: content, byte by byte.

    with:
      backup  the name of a backup
      source  only this source of it (every source of kind `paths` on this machine, where left out)
      sample  how many files of each source (100; at most 1000)
      most    how many bytes of each source are read (1 GiB)

    Only files are compared that have the size and the time of change that the set knows, so that every difference is one
    that nobody meant: a disk that rots, or someone who changes files and hides it. It is 22, each file by name. What
    changed since, and what is too large for the rest of the bytes, is counted and left out. Nothing is changed.
    """

    word = "compare"
    Params = CompareParams

    def observe(self, params: CompareParams, world: World) -> Seen:
        history = world.repository(world.home(params.backup))
        newest = history.look(world.clock()).judgement.newest_whole(params.backup)
        if newest is None:
            raise SafetyRefusal(f"there is no whole set of {params.backup} to compare with",
                                hint=f"opsctl backup list {params.backup}")
        view, history = find_set(world, params.backup, newest.id)
        if params.source and params.source not in view.sources:
            raise UsageError(f"set {view.id} holds no source {params.source}", hint=f"it holds {', '.join(view.sources)}")
        chosen = [params.source] if params.source else list(view.sources)
        files = [name for name in chosen if view.sources[name]["kind"] == "paths" and _host(name, world) is None]
        away = {name: host for name in chosen if view.sources[name]["kind"] == "paths" and (host := _host(name, world))}
        if away and not files:
            raise UsageError(f"{', '.join(f'{name} is on {host}' for name, host in away.items())}, and only files of this "
                             "machine are compared", hint="opsctl verify --level drill proves that they restore")
        if not files:
            raise UsageError(f"{', '.join(chosen)}: no source of files (kind: paths), and only files are compared",
                             hint="opsctl verify --level drill proves databases")
        return Seen(
            set=view.id,
            set_time=str(view.record["time"]),
            sources=tuple(_compare(name, view.sources[name], history.repository, params, world) for name in files),
            others=tuple(name for name in chosen if name not in files),
        )

    def findings(self, params: CompareParams, seen: Seen) -> Sequence[OpsError]:
        return [
            DamagedData(
                f"{found.source}: {len(found.different)} of {counted(found.files, 'file')}: the size and time of set {seen.set}, and "
                f"other content: {', '.join(found.different[:3])}{', …' if len(found.different) > 3 else ''}",
                hint=f"a failing disk, or someone who hides a change: compare with `opsctl restore files {params.backup} PATH`",
                where=f"{params.backup}/{found.source}",
                details={"files": list(found.different[:_LISTED]), "more_files": max(0, len(found.different) - _LISTED)},
            )
            for found in seen.sources if found.different
        ]

    def result(self, params: CompareParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "set": seen.set, "set_time": seen.set_time, "others": list(seen.others),
            "sources": {found.source: {
                "files": found.files, "bytes": found.bytes, "different": list(found.different[:_LISTED]),
                "changed": found.changed, "too_large": found.large,
            } for found in seen.sources},
        }


def _host(name: str, world: World) -> str | None:
    """The machine that a source is on, None for this one: there its files have the same names as others' have here."""
    spec = world.config.sources.get(name)
    return None if spec is None else spec.host


def _compare(name: str, entry: Mapping[str, Any], repository: Any, params: CompareParams, world: World) -> Compared:
    # By the run's id: a resumed run looks at the same files.
    chance = random.Random(f"{world.run}/{params.backup}/{name}")
    candidates = _sample(repository.ls(entry["snapshot"]), params.sample * _TRIES, chance)
    chosen: list[Node] = []
    left, changed, large = params.most, 0, 0
    for node in candidates:
        if len(chosen) == params.sample:
            break
        if not _same(node):
            changed += 1
        elif node.size > left:
            large += 1
        else:
            chosen.append(node)
            left -= node.size
    if not chosen:
        return Compared(name, 0, 0, (), changed, large)
    different = []
    equal = size = 0
    with world.scratch() as scratch:
        refuse_small_disk(scratch, params.most - left)
        repository.restore(entry["snapshot"], scratch, include=tuple(node.path for node in chosen), on_progress=world.progress)
        for node in chosen:
            kept = of_file(Path(f"{scratch}{node.path}"), world.shell.check)
            found = _content(node, world)
            if found is None:
                changed += 1
            elif found == kept.sha256:
                equal, size = equal + 1, size + node.size
            else:
                different.append(node.path)
                size += node.size
    return Compared(name, equal + len(different), size, tuple(sorted(different)), changed, large)


def _sample(nodes: Iterator[Node], number: int, chance: random.Random) -> list[Node]:
    """``number`` files by chance, in the order of chance, of a listing of any length."""
    kept: list[Node] = []
    count = 0
    for node in nodes:
        if node.type != "file" or "\ufffd" in node.path:  # a name that is no UTF-8 cannot be found by what restic prints
            continue
        count += 1
        if len(kept) < number:
            kept.append(node)
        elif (place := chance.randrange(count)) < number:
            kept[place] = node
    chance.shuffle(kept)
    return kept


def _same(node: Node) -> bool:
    """Whether the file is still of the size and the time of change that the snapshot knows."""
    try:
        found = os.lstat(node.path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (node.size, _nanoseconds(node.mtime))


def _content(node: Node, world: World) -> str | None:
    """SHA-256 of the file as it is now; None where it can no longer be read, or changed meanwhile."""
    try:
        found = of_file(node.path, world.shell.check)
    except OSError as error:
        world.warn(f"{node.path} could not be read: {error.strerror}")
        return None
    return found.sha256 if _same(node) else None


def _nanoseconds(text: str) -> int:
    """An RFC 3339 time, with up to nine digits of a second, as nanoseconds since 1970."""
    moment = parse_time(text)
    whole = (moment.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return whole * 10**9 + int(digits[:9].ljust(9, "0") or 0)


def describe(found: Mapping[str, Any]) -> str:
    """What one source came to, in words."""
    left = [f"{found[key]} {word}" for key, word in (("changed", "changed since"), ("too_large", "too large for the rest"))
            if found[key]]
    rest = f" ({', '.join(left)}: left out)" if left else ""
    if not found["files"]:
        return f"nothing could be compared{rest}"
    return f"{counted(found['files'], 'file')}, {format_size(found['bytes'])}, compared{rest}"
