"""The versions that a bucket keeps of a repository's objects, and what brings them back to how they were at a moment.

restic stores an object once and never changes it, and names all but the config by the hash of their content. That decides
where times do not: Ceph dates a version anew when its retention is changed and another one then replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from opsctl.repositories.s3_place import S3Place
from opsctl.repositories.store import SHORTEST, is_object_name

#: What a repository is made of beside its config, in the order in which restic stores it. Its locks come and go.
PARTS = ("data/", "index/", "snapshots/", "keys/")

#: What is done to an object: its delete markers taken away, an old version copied over, hidden behind a delete marker.
Deed = Literal["uncover", "put-back", "hide"]

#: Whether the content of a version (of the object with this name) is what it has to be.
Sound = Callable[[str, "Version"], bool]


@dataclass(frozen=True)
class Version:
    """One stored content of an object. An ``ETag`` that was made of parts has a hyphen in it."""

    id: str
    time: datetime
    size: int
    tag: str


@dataclass(frozen=True)
class Kept:
    """All that is kept of one object: its versions, newest first by the store's own order, and its delete markers."""

    versions: tuple[Version, ...]
    markers: tuple[tuple[str, datetime], ...] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Step:
    """What one object needs: ``version`` is the one to be shown again, ``markers`` the ids of those that hide it."""

    name: str
    deed: Deed
    version: Version | None = None
    markers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What happened to an object after it was stored, which restic does to none but its locks."""

    time: datetime
    name: str
    what: Literal["overwritten", "deleted"]


def counts(name: str) -> bool:
    """Whether an object is one of what a repository is made of: no lock of restic's, nothing of another's below the prefix."""
    return name == "config" or name.startswith(PARTS)


def read(place: S3Place) -> dict[str, Kept]:
    """Everything that is kept, by the names of the objects. Locks of restic are left out.

    Raises Refused (``s3:ListBucketVersions``), Unreachable, ProgramFailed.
    """
    versions: dict[str, list[Version]] = {}
    markers: dict[str, list[tuple[str, datetime]]] = {}
    hidden = set()
    for page in place.pages("list_object_versions"):
        for entry in page.get("Versions", ()):
            if counts(name := place.name(entry["Key"])):
                versions.setdefault(name, []).append(Version(
                    entry["VersionId"], entry["LastModified"], entry["Size"], str(entry["ETag"]).strip('"')))
        for entry in page.get("DeleteMarkers", ()):
            if counts(name := place.name(entry["Key"])):
                markers.setdefault(name, []).append((entry["VersionId"], entry["LastModified"]))
                if entry["IsLatest"]:
                    hidden.add(name)
    return {name: Kept(tuple(versions.get(name, ())), tuple(markers.get(name, ())), name in hidden)
            for name in dict.fromkeys([*versions, *markers])}


def steps(kept: Mapping[str, Kept], moment: datetime, sound: Sound, hide: Collection[str] = ()) -> Iterator[Step]:
    """What is missing so that every object is as it was at a moment. Asks ``sound`` only where times and ETags cannot tell.

    Of an object that was there then the version of that moment is wanted, and where all of its versions are dated later
    the first, if its content is what its name says. What is not, and was not there then, was planted, and is hidden;
    ``hide`` names more of that. What is sound stays in sight, also where it came later.
    """
    for name, each in kept.items():
        if not each.versions:
            continue
        wanted = None if name in hide else _wanted(each, moment)
        if wanted is None or (wanted.time > moment and not sound(name, wanted)):
            shown = each.versions[0]
            planted = name in hide or not (shown is not wanted and sound(name, shown))
            if not each.hidden and planted:
                yield Step(name, "hide")
            continue
        shown = each.versions[0]
        likeness = alike(shown, wanted)
        if likeness == "yes" or (likeness == "unsure" and sound(name, shown)):
            if each.hidden:
                yield Step(name, "uncover", wanted, tuple(ident for ident, _ in each.markers))
        else:
            yield Step(name, "put-back", wanted)


def _wanted(kept: Kept, moment: datetime) -> Version | None:
    """The version of a moment; the first one where all are dated later; None for what was deleted by then."""
    before = next((each for each in kept.versions if each.time <= moment), None)
    deleted = max((time for _, time in kept.markers if time <= moment), default=None)
    if deleted is not None and (before is None or deleted > before.time):
        return None
    return before or kept.versions[-1]


def alike(one: Version, other: Version) -> Literal["yes", "no", "unsure"]:
    """Whether two versions hold the same: an ETag that was made of parts says nothing about one that was not."""
    if one.size != other.size:
        return "no"
    if one.tag == other.tag:
        return "yes"
    return "unsure" if ("-" in one.tag) != ("-" in other.tag) else "no"


_READ: dict[tuple[str, str, str], str] = {}  # SHA-256 by place, name and version


def is_sound(place: S3Place, name: str, version: Version, config_sha256: str | None) -> bool:
    """Whether a version holds what its name says, and the config what is known of it. Each is read once: none ever changes."""
    last = name.rpartition("/")[2]
    if version.size < SHORTEST or (name != "config" and not is_object_name(last)):
        return False
    if name == "config" and config_sha256 is None:
        return True
    key = (str(place), name, version.id)
    digest = _READ.get(key)
    if digest is None:
        content = place.read(name, VersionId=version.id)
        digest = "" if content is None else hashlib.sha256(content).hexdigest()
        if digest and version.id != "null":  # that one is of a bucket without versions, and can change
            _READ[key] = digest
    return digest == (config_sha256 if name == "config" else last)


def events(kept: Mapping[str, Kept]) -> list[Event]:
    """Everything that happened to objects after they were first stored, the oldest first."""
    found = []
    for name, each in kept.items():
        found += [Event(time, name, "deleted") for _, time in each.markers]
        found += [Event(newer.time, name, "overwritten")
                  for newer, older in pairwise(each.versions) if alike(newer, older) == "no"]
    return sorted(found, key=lambda event: (event.time, event.name))
