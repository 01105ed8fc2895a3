"""What the stores alone say at the end: restic, ssh-keygen and json, and nothing of opsctl.

It knows the signing key's public half, the passwords, and what the department's sources held at each moment.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.month.controller import Tick
from tests.month.sources import Source
from tests.month.stores import Store

#: A set that is dated so far ahead still counts: two controllers' clocks differ.
SKEW = timedelta(hours=1)
_RECORD, _SIGNATURE = b'{"record":', b',"signature":'


@dataclass(frozen=True)
class Set:
    """A set as a store holds it: signed by the department's key, every snapshot there with the tree that was signed."""

    store: str
    backup: str
    id: str
    time: datetime
    snapshots: Mapping[str, str]
    trees: Mapping[str, str]


class Inspector:
    """Looks at stores. ``public_key``: the controller's, as a line; ``place``: where it may make files."""

    def __init__(self, public_key: str, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        self.signers = place / "allowed"
        self.signers.write_text(f"controller {public_key}\n")
        self.problems: list[str] = []

    def sets(self, store: Store) -> list[Set]:
        """Every whole set in a store, oldest first. A manifest of ours that names what is not there is a problem."""
        snapshots = store.snapshots()
        here = {one["id"]: one["tree"] for one in snapshots}
        copies = {(one["original"], one["tree"]): one["id"] for one in snapshots if one.get("original")}
        config = json.loads(store.restic("cat", "config", "--no-lock"))
        found = []
        for one in snapshots:
            if "manifest" not in (one.get("tags") or ()):
                continue
            named = [path.rpartition("/")[2] for path in one["paths"] if "opsctl-manifest-" in path]
            record = self._record(store.restic("dump", "--no-lock", one["id"], f"/{named[0]}")) if named else None
            if record is None:
                continue
            named = {name: (entry["snapshot"], entry["tree"]) for name, entry in record["sources"].items()}
            if record["repository"] == config["id"]:
                held = {name: found for name, (found, tree) in named.items() if here.get(found) == tree}
            else:
                held = {name: copies[pair] for name, pair in named.items() if pair in copies}
            if set(held) != set(named):
                self.problems.append(f"{store.name}: set {record['set']} of {record['backup']} is signed and lacks "
                                     f"{sorted(set(named) - set(held))}")
                continue
            found.append(Set(store.name, record["backup"], record["set"], datetime.fromisoformat(record["time"]), held,
                             {name: tree for name, (_, tree) in named.items()}))
        return sorted(found, key=lambda each: each.time)

    def _record(self, content: bytes) -> dict[str, Any] | None:
        """The signed words of a manifest, None where our key did not sign them."""
        body = content.strip()
        if not body.startswith(_RECORD) or _SIGNATURE not in body:
            return None
        cut = body.rindex(_SIGNATURE)
        signed, signature = body[len(_RECORD):cut], json.loads(body[cut + len(_SIGNATURE):-1])
        file = self.place / "signature"
        file.write_text(signature)
        argv = ["ssh-keygen", "-Y", "verify", "-f", str(self.signers), "-I", "controller", "-n", "manifest@opsctl", "-s", str(file)]
        done = subprocess.run(argv, input=signed, capture_output=True, check=False)
        record: dict[str, Any] = json.loads(signed)
        return record if done.returncode == 0 and record.get("format") == "opsctl-manifest/1" else None

    def compare(self, store: Store, one: Set, sources: Mapping[str, Source], expected: Mapping[str, frozenset[str]]) -> None:
        """Restore a set by restic alone; what each source has to be, by name."""
        for name, snapshot in one.snapshots.items():
            with _restored(store, snapshot, self.place / "restored") as place:
                found = sources[name].back(place)
            if found not in expected[name]:
                self.problems.append(f"{store.name}: {name} of set {one.id} of {one.backup} is not what the source held then")


@contextmanager
def _restored(store: Store, snapshot: str, place: Path) -> Iterator[Path]:
    try:
        store.restic("restore", "--no-lock", snapshot, "--target", str(place))
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def told_and_there(ticks: Sequence[Tick], sets: Sequence[Set]) -> Iterator[str]:
    """Promise 1: what a tick called done, or called copied, is there."""
    there = {(one.backup, one.id, one.store) for one in sets}
    for tick in ticks:
        for claim in (*tick.done, *tick.copied):
            if claim not in there:
                yield f"{tick.at:%d %b %H:%M} said that set {claim[1]} of {claim[0]} is in {claim[2]}, and it is not there"


def never_well_while_due(
    ticks: Sequence[Tick], sets: Sequence[Set], homes: Mapping[str, tuple[str, timedelta]]
) -> Iterator[str]:
    """Promise 2: whenever a tick ended with 0, or called the dead man's switch, the stores hold a set as new as asked for."""
    for tick in ticks:
        if tick.code and not tick.alive:
            continue
        for backup, (home, every) in homes.items():
            newest = max((one.time for one in sets if one.store == home and one.backup == backup and one.time <= tick.at + SKEW),
                         default=None)
            if newest is None or tick.at - newest >= every:
                yield (f"{tick.at:%d %b %H:%M} ended with {tick.code}{' and called the switch' if tick.alive else ''}, and the newest "
                       f"set of {backup} was of {newest}")


def spacing(sets: Sequence[Set], homes: Mapping[str, tuple[str, timedelta]], excused: Iterable[str]) -> Iterator[str]:
    """No set before it was due."""
    for backup, (home, every) in homes.items():
        own = [one for one in sets if one.store == home and one.backup == backup and one.id not in set(excused)]
        for earlier, later in itertools.pairwise(own):
            if later.time - earlier.time < every:
                yield f"{backup}: set {later.id} was made {later.time - earlier.time} after {earlier.id}, asked for every {every}"
