"""What repositories keep of an incident: its entries, signed, put together again, and what of it is lost. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, Protocol

from opsctl.model.incident import COLLECTED, DRAFTED, ENTERED, ENTRIES, OFFLINE, PAPERED, SEALED, TAKEN_OVER, Line
from opsctl.model.quantities import counted
from opsctl.model.records import Record
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value


class Hashed(Line, Protocol):
    """An entry with the hash that its journal gave it, and the run that wrote it."""

    @property
    def hash(self) -> str: ...

    @property
    def run(self) -> str | None: ...


@value
class Entry:
    """An entry of another controller's journal; ``seq`` is its number there."""

    seq: int
    hash: str
    time: datetime
    type: str
    run: str | None
    data: Mapping[str, Any]


@value
class Folder:
    """The folder of an incident as a repository has it: the snapshot, and the SHA-256 of each file by its path in the folder.

    Only files count that no newer one has: what is in the folder of an incident stays there.
    """

    repository: str
    snapshot: str
    files: Mapping[str, str]
    left_out: Mapping[str, str]


@value
class Kept:
    """What trusted controllers kept of one incident. ``entries``: each once, in the order in which they were written.

    ``until``: when the last of it was kept; ``by``: fingerprints of the keys that signed it; ``gaps``: entries that one which is
    there names as before it, and that are nowhere; ``folders``: newest first.
    """

    entries: tuple[Entry, ...]
    until: datetime
    repository: str
    by: tuple[str, ...]
    gaps: tuple[str, ...]
    folders: tuple[Folder, ...]

    @property
    def files(self) -> Mapping[str, str]:
        """All that any of them has: the SHA-256 by path."""
        return {name: digest for one in self.folders for name, digest in one.files.items()}


def pack(line: Hashed) -> dict[str, Any]:
    """An entry as a record holds it."""
    return {"seq": line.seq, "hash": line.hash, "time": line.time.isoformat(), "type": line.type, "run": line.run, "data": dict(line.data)}


def unpack(found: Mapping[str, Any]) -> Entry:
    return Entry(found["seq"], found["hash"], parse_time(found["time"]), found["type"], found["run"], found["data"])


def flat(line: Hashed) -> Iterator[Hashed]:
    """An entry, and before one that took an incident over all those that came with it."""
    if line.type != TAKEN_OVER:
        yield line
        return
    yield from map(unpack, line.data.get("entries", ()))
    yield Entry(line.seq, line.hash, line.time, line.type, line.run, {key: said for key, said in line.data.items() if key != "entries"})


def gather(found: Sequence[tuple[str, Record]]) -> Kept | None:
    """Put together what repositories hold of one incident: records that count, each with the name of its repository. None: of none.

    An entry of another incident is none of this one, whatever record it lies in.
    """
    ordered = sorted(found, key=lambda one: parse_time(one[1].record["time"]))
    if not ordered:
        return None
    entries: dict[str, Entry] = {}
    for _, record in ordered:
        for said in _own(record):
            entries.setdefault(said["hash"], unpack(said))
    gaps = [f"what was written before {_first(record)} (as {name} tells)" for name, record in ordered
            if record.record["previous"] and record.record["previous"] not in entries]
    last = ordered[-1]
    return Kept(_in_order(entries, [record for _, record in ordered]), parse_time(last[1].record["time"]), last[0], tuple(sorted({str(one.signer) for _, one in ordered})),
                tuple(dict.fromkeys(gaps)), _folders(ordered))


def _own(record: Record) -> list[Mapping[str, Any]]:
    return [said for said in record.record["entries"] if said["data"].get("incident") == record.record["incident"] and said["type"] in ENTRIES]


def _in_order(entries: Mapping[str, Entry], records: Iterable[Record]) -> tuple[Entry, ...]:
    """Each behind those that its records have before it, and otherwise by time: clocks jump, and repositories miss some."""
    after: dict[str, set[str]] = {name: set() for name in entries}
    for record in records:
        chain = [name for name in (record.record["previous"], *(said["hash"] for said in _own(record))) if name in entries]
        for one, next_ in pairwise(chain):
            after[one].add(next_)
    behind = Counter(name for names in after.values() for name in names)
    ready = [(one.time, one.seq, name) for name, one in entries.items() if not behind[name]]
    heapify(ready)
    found: dict[str, Entry] = {}
    while ready:
        name = heappop(ready)[2]
        found[name] = entries[name]
        for next_ in after[name]:
            behind[next_] -= 1
            if not behind[next_]:
                heappush(ready, (entries[next_].time, entries[next_].seq, next_))
    return (*found.values(), *(one for name, one in entries.items() if name not in found))


def _folders(ordered: Sequence[tuple[str, Record]]) -> tuple[Folder, ...]:
    found: list[Folder] = []
    newer: set[str] = set()
    for name, record in reversed(ordered):
        files = {path: digest for path, digest in record.record.get("files", {}).items() if path not in newer}
        if files:
            found.append(Folder(name, record.snapshot, files, record.record.get("left_out", {})))
        newer |= {*files}
    return tuple(found)


def _first(record: Record) -> str:
    entries = record.record["entries"]
    return str(entries[0]["time"] if entries else record.record["time"])


def lost(kept: Kept, lines: Iterable[Line], until: str) -> list[str]:
    """What is not there any more, in words. ``until``: the moment of the last record as people read it."""
    there = set(kept.files.values())
    found = [f"whatever was written after {until}, when {kept.repository} was last given it", *kept.gaps]
    found += [what for what, digest in _named(lines) if digest not in there]
    if kept.folders:
        found += [f"{name}: {why} when it was kept" for name, why in kept.folders[0].left_out.items()]
    return found


def _named(lines: Iterable[Line]) -> Iterator[tuple[str, str]]:
    """The files that entries speak of, each in words and with its hash; of a bag the last word counts."""
    bags: dict[str, tuple[str, str]] = {}
    for line in lines:
        data = line.data
        if line.type == COLLECTED:
            bags[data["bag"]] = f"the evidence of {data['host']} ({data['bag']})", data["manifest_sha256"]
        elif line.type == SEALED:
            bags[data["bag"]] = bags.get(data["bag"], (f"the evidence {data['bag']}", ""))[0], data["manifest_sha256"]
        elif line.type == PAPERED:
            yield f"the paper {data['name']} ({data['kind']})", data["sha256"]
        elif line.type == DRAFTED:
            yield from ((f"draft {data['number']} of the report {data['report']}: {one['name']}", one["sha256"]) for one in data["files"])
        elif line.type == OFFLINE:
            yield from ((f"order {data['order']}, number {data['number']}: {one['name']}", one["sha256"]) for one in data.get("files", ()))
        elif line.type == ENTERED:
            yield f"what was entered from paper ({data['file']})", data["sha256"]
    yield from bags.values()


def waiting(total: int, kept: Mapping[str, Any]) -> str:
    """What a repository still lacks, in words; empty where nothing is. ``kept``: as it was noted at the last try."""
    left = total - int(kept.get("entries", 0))
    parts = [counted(left, "entry", "entries")] if left > 0 else []
    if kept.get("trouble"):
        return f"{' and '.join(parts) or 'something'} of it ({kept['trouble']})"
    return " and ".join(parts)
