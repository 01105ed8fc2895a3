"""rewind: a repository in a bucket with versions as it was at a moment, before somebody overwrote or deleted in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.lock import locked_place
from opsctl.errors import OpsError, Refused, SafetyRefusal, UsageError
from opsctl.model.moments import local
from opsctl.model.quantities import counted, format_size
from opsctl.model.secrets import SecretRef
from opsctl.model.snapshots import Progress, parse_time
from opsctl.repositories import versions
from opsctl.repositories.s3_place import S3Place, at_once
from opsctl.repositories.versions import Step, Version
from opsctl.shells.secrets import read_secret

#: Seconds that the store may take for one copy within itself.
_COPY_LIMIT = 240.0
#: How many objects are named in the result of a run; the number of all is said.
NAMED = 200


class RewindParams(Params):
    """``to`` is RFC 3339. ``access_key_file`` and ``secret_key_file``: another key for this run, the owner's perhaps.

    ``hide``: names of objects that were planted, though their content is what their names say.
    """

    repository: str
    to: str
    access_key_file: str = ""
    secret_key_file: str = ""
    hide: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What is to be done so that the repository is as it was, and the ``locks`` of restic that are in it.

    ``first``: when the store says that the oldest thing was stored, where that is after the moment.
    """

    steps: tuple[Step, ...]
    locks: tuple[str, ...]
    objects: int
    first: datetime | None = None

    def doubt(self, zone: tzinfo) -> str | None:
        """What a person in this time zone has to know of the moment that was chosen."""
        if self.first is None:
            return None
        return (f"the store dates everything after that moment (the oldest {local(self.first, zone)}): of each object the first "
                "version is taken")

    def of(self, *deeds: str, config: bool) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.deed in deeds and (step.name == "config") == config)


class Rewind(StateAction[RewindParams, Seen]):
    """Brings a repository in an S3 bucket back to how it was at a moment. Nothing is deleted: versions stay.

    with:
      repository       the name of a repository in the configuration
      to               the moment, RFC 3339
      access_key_file, secret_key_file   another access key for this run, such as the bucket owner's
      hide             more objects to hide (snapshots/ID), such as verify names as planted

    Delete markers are removed, and where an object was overwritten the version of the moment is copied over it: the
    wrong one is locked itself. What came after the moment and does not hold what its name says was planted, and is
    hidden behind a delete marker; sound objects stay in sight. The config comes after all that it needs, so that nothing
    works with half of it. Locks of restic are left out, since old ones would rise again. The everyday key can copy
    over, and does so for deleted objects too; to remove markers (`s3:DeleteObjectVersion`) and to hide
    (`s3:DeleteObject`) takes the owner's.
    """

    word = "rewind"
    Params = RewindParams

    def locks(self, params: RewindParams) -> Sequence[str]:
        return (f"rewind-{params.repository}",)

    def observe(self, params: RewindParams, world: World) -> Seen:
        seen = _observe(params, world)
        if doubt := seen.doubt(world.config.organisation.tz):
            world.warn(f"{params.repository}: {doubt}")
        return seen

    def plan(self, params: RewindParams, seen: Seen) -> list[Change]:
        changes = []
        uncover, back = seen.of("uncover", config=False), seen.of("put-back", config=False)
        hide, config = seen.of("hide", config=False), seen.of("uncover", "put-back", config=True)
        if uncover:
            changes.append(Change("uncover", f"bring {counted(len(uncover), 'deleted object')} of {params.repository} back"))
        if back:
            changes.append(Change("put-back", f"copy the version of {params.to} over {counted(len(back), 'object')} of "
                                              f"{params.repository} ({format_size(_bytes(back))})"))
        if config:
            changes.append(Change("config", f"bring the config of {params.repository} back"))
        if hide:
            changes.append(Change("hide", f"hide {counted(len(hide), 'object')} of {params.repository} that "
                                          f"{'were' if len(hide) > 1 else 'was'} planted: {_named(hide)}"))
        return changes

    def apply(self, params: RewindParams, change: Change, world: World) -> None:
        place = rewound_place(params, world)
        seen = _observe(params, world)
        deeds = ("uncover", "put-back") if change.key == "config" else (change.key,)
        wanted = seen.of(*deeds, config=change.key == "config")
        done = 0

        def act(step: Step) -> None:
            _do(place, step)

        def on_done() -> None:
            nonlocal done
            done += 1
            world.shell.check()
            world.progress(Progress(f"rewind {params.repository}", files_done=done, files_total=len(wanted)))

        at_once(act, wanted, on_done)

    def missing(self, params: RewindParams, seen: Seen, changes: Sequence[Change]) -> str:
        return f"{params.repository} is not as it was at {params.to} yet: {_named(seen.steps)}"

    def result(self, params: RewindParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "to": params.to, **summary(seen)}


def rewound_place(params: RewindParams, world: World) -> S3Place:
    """The repository's place, asked with the key of this run."""
    place = replace(locked_place(params.repository, world), time_limit=_COPY_LIMIT)
    if not params.access_key_file:
        return place
    refs = [SecretRef(f"{what} of this run", file=file) for what, file in (
        ("access key", params.access_key_file), ("secret key", params.secret_key_file))]
    words = [read_secret(ref, world.shell).reveal() for ref in refs]
    return place.with_keys(lambda: (words[0], words[1]))


def _observe(params: RewindParams, world: World) -> Seen:
    pinned = world.repository(params.repository).pinned()
    return observe(rewound_place(params, world), parse_time(params.to), params.repository,
                   config_sha256=pinned.config_sha256 if pinned else None, hide=params.hide)


def observe(place: S3Place, moment: datetime, name: str, *, config_sha256: str | None, hide: Sequence[str] = ()) -> Seen:
    """How the objects are now against how they were. SafetyRefusal where there never was a repository."""
    found = versions.read(place)

    def sound(object_name: str, version: Version) -> bool:
        return versions.is_sound(place, object_name, version, config_sha256)

    config = found.get("config")
    if config is None or not config.versions:
        raise SafetyRefusal(f"there never was a repository at {place} ({name})", where=name)
    unknown = [each for each in hide if each not in found or each == "config"]
    if unknown:
        raise UsageError(f"there is no object {unknown[0]} in {name}", hint="KIND/NAME, as opsctl verify says it")
    locks = tuple(place.name(entry["Key"]) for page in place.pages("list_objects_v2", "locks/")
                  for entry in page.get("Contents", ()))
    first = min(each.time for kept in found.values() for each in kept.versions)
    return Seen(tuple(versions.steps(found, moment, sound, hide)), locks, len(found), first if first > moment else None)


def summary(seen: Seen) -> dict[str, Any]:
    """How many objects need what, JSON-able, and the first of them by name."""
    by_deed = {deed: [step.name for step in seen.steps if step.deed == deed] for deed in ("uncover", "put-back", "hide")}
    return {"objects": seen.objects, "bytes": _bytes(step for step in seen.steps if step.deed == "put-back"),
            **{deed.replace("-", "_"): len(names) for deed, names in by_deed.items()},
            "names": {deed.replace("-", "_"): names[:NAMED] for deed, names in by_deed.items()}, "locks": list(seen.locks)}


def _do(place: S3Place, step: Step) -> None:
    if step.deed == "hide":
        _allowed(lambda: place.ask("delete_object", step.name), place, f"hide {step.name}", "s3:DeleteObject")
        return
    assert step.version is not None, "what is brought back has a version"
    if step.deed == "uncover":
        try:
            for marker in step.markers:
                place.ask("delete_object", step.name, VersionId=marker)
            return
        except OpsError as error:
            if error.details.get("kind") != "access-denied":
                raise
    source = {"Bucket": place.bucket, "Key": place.key(step.name), "VersionId": step.version.id}
    _allowed(lambda: place.ask("copy_object", step.name, CopySource=source), place, f"copy an old version of {step.name}",
             "s3:GetObjectVersion and s3:PutObject")


def _allowed(request: Callable[[], object], place: S3Place, what: str, right: str) -> None:
    try:
        request()
    except OpsError as error:
        if error.details.get("kind") != "access-denied":
            raise
        raise Refused(f"{place} does not let this access key {what}", hint=f"it needs {right}: --access-key-file and "
                      "--secret-key-file with the key of the bucket's owner", details=error.details) from error


def _bytes(steps: Any) -> int:
    return sum(step.version.size for step in steps if step.version is not None)


def _named(steps: Sequence[Step]) -> str:
    names = [step.name if len(step.name) < 40 else f"{step.name[:24]}…" for step in steps[:3]]
    return ", ".join(names) + (" …" if len(steps) > 3 else "")
