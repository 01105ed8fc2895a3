"""The index of an emergency kit: what it holds, for which machines, and how it compares with how things are now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from opsctl.model.due import words
from opsctl.model.records import canonical
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

KIT = "opsctl-kit/1"
NAMESPACE = "kit@opsctl"


@value
class Present:
    """How things are now, as far as a kit should know of it; each of the digests is SHA-256 (hex)."""

    opsctl: str
    lock: str
    configuration: Mapping[str, str]
    people: Mapping[str, str]
    repositories: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"opsctl": self.opsctl, "lock": self.lock, "configuration": dict(self.configuration), "people": dict(self.people),
                "repositories": dict(self.repositories)}


def open_index(content: bytes) -> tuple[dict[str, Any], str]:
    """The record of an index and its signature; ValueError where it is none. Checks no signature."""
    found = json.loads(content)
    record, signature = (found.get("record"), found.get("signature")) if isinstance(found, dict) else (None, None)
    if not isinstance(record, dict) or not isinstance(signature, str) or record.get("format") != KIT:
        raise ValueError("no index of a kit that this version knows")
    files, present = record.get("files"), record.get("present")
    if not isinstance(files, dict) or not all(isinstance(one, list) and len(one) == 2 for one in files.values()):
        raise ValueError("its list of files is none")
    if not isinstance(present, dict) or not all(isinstance(present.get(key), dict) for key in ("configuration", "people", "repositories")):
        raise ValueError("it does not say what it was made of")
    if any(name.startswith("/") or ".." in name.split("/") for name in files):
        raise ValueError("it names files outside of the kit")
    parse_time(record["time"])
    return record, signature


def write_index(record: Mapping[str, Any], signature: str) -> bytes:
    """The stored form, one line."""
    return canonical({"record": dict(record), "signature": signature}) + b"\n"


def stale(record: Mapping[str, Any], now: Present, moment: datetime, most: timedelta) -> Iterator[str]:
    """What of a kit is no longer so, one sentence each."""
    age = moment - parse_time(record["time"])
    if age > most:
        yield f"the kit is {words(age)} old; {words(most)} is the most"
    then = record["present"]
    if then.get("opsctl") != now.opsctl:
        yield f"it holds opsctl {then.get('opsctl')}, and this is {now.opsctl}"
    if then.get("lock") != now.lock:
        yield "its wheels are those of another lock file"
    for what, noun, mine in (("configuration", "file of the configuration", now.configuration), ("people", "person", now.people),
                       ("repositories", "repository", now.repositories)):
        theirs: Mapping[str, Any] = then[what]
        for name in sorted({*theirs, *mine}):
            if name not in theirs:
                yield f"{name}: a {noun} that the kit does not know"
            elif name not in mine:
                yield f"{name}: a {noun} that is no longer there"
            elif theirs[name] != mine[name]:
                yield f"{name}: this {noun} has changed since"
