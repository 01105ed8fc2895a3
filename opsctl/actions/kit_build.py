"""kit_build: an emergency kit, whole or not at all."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import opsctl
from opsctl import apt, kit_folder, setup_machine
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restoring import in_the_way, make_staging, plain, refuse_own_places, settle, show, staging
from opsctl.errors import OpsError, SafetyRefusal
from opsctl.kit import debian, pages, wheels
from opsctl.model.kit import KIT, NAMESPACE, open_index, write_index
from opsctl.model.part import AfterValidator
from opsctl.model.records import canonical
from opsctl.plain_file import read_plain, sha256_of


class KitBuildParams(Params):
    """``into`` is the folder to make, or an empty medium; ``packages``: with the Debian packages."""

    into: Annotated[str, AfterValidator(plain)]
    packages: bool = True


@dataclass(frozen=True)
class Seen:
    """The index, once the kit is in view and ours."""

    index: Mapping[str, Any] | None


class KitBuild(StateAction[KitBuildParams, Seen]):
    """Builds an emergency kit: everything but secrets and data that a new machine without a network needs.

    with:
      into      the folder to make, or the place where an empty medium is mounted
      packages  true: with the Debian packages of the programs; for machines of this release and architecture

    It holds opsctl itself, its Python packages, the configuration and playbooks, public keys and fingerprints, addresses, the
    ids of the repositories, and pages to print in English and Hindi; last an index of every file, signed by the controller. A kit
    without an index is none. Of what was begun and killed nothing looks like a kit, and `opsctl resume` builds it anew.
    """

    word = "kit_build"
    Params = KitBuildParams

    def locks(self, params: KitBuildParams) -> Sequence[str]:
        return (f"into-{params.into}",)

    def observe(self, params: KitBuildParams, world: World) -> Seen:
        target = Path(params.into)
        refuse_own_places(world, target)
        try:
            record, _ = open_index(read_plain(target / kit_folder.INDEX))
            if record.get("run") == world.run:
                return Seen(record)
        except (OSError, ValueError):
            pass
        if _taken(target, world):
            raise SafetyRefusal(f"{target} exists and is not empty", hint="a new folder, or an empty medium; a kit is never changed")
        return Seen(None)

    def plan(self, params: KitBuildParams, seen: Seen) -> list[Change]:
        if seen.index is not None:
            return []
        # Each a commit: of a kit that lacks one part nothing has succeeded.
        changes = [Change("papers", "put in opsctl, the configuration, public keys, addresses and the pages to print", commit=True),
                   Change("wheels", "fetch the Python packages of the lock file", ("papers",), commit=True)]
        if params.packages:
            changes.append(Change("packages", "fetch the Debian packages of the programs, with all that they need", ("wheels",),
                                  commit=True))
        return [*changes, Change("index", f"sign the index and bring the kit into view as {params.into}",
                                 tuple(change.key for change in changes), commit=True)]

    def apply(self, params: KitBuildParams, change: Change, world: World) -> None:
        place = _place(Path(params.into), world)
        if change.key == "papers":
            make_staging(place, anew=True)
            _papers(place, world)
        elif change.key == "wheels":
            wheels.fetch(world.kit.lock, place / kit_folder.WHEELS, world.shell)
        elif change.key == "packages":
            debian.fetch(debian.wanted({source.kind for source in world.config.sources.values()}),
                         place / kit_folder.PACKAGES, world.shell)
        else:
            _finish(place, Path(params.into), params, world)

    def result(self, params: KitBuildParams, seen: Seen) -> Mapping[str, Any]:
        if seen.index is None:
            return {"into": None}
        files = seen.index["files"]
        return {"into": params.into, "files": len(files), "bytes": sum(size for size, _ in files.values()), "for": seen.index["for"],
                "people": seen.index["people_fingerprint"]}


def _place(target: Path, world: World) -> Path:
    """Where it is built: beside the folder; on a medium, which cannot be renamed over, in it."""
    return target / f".opsctl-{world.run}" if os.path.ismount(target) else staging(target, world.run)


def _taken(target: Path, world: World) -> bool:
    if not os.path.ismount(target):
        return in_the_way(target)
    return bool({path.name for path in target.iterdir()} - {"lost+found", f".opsctl-{world.run}"})


def _papers(place: Path, world: World) -> None:
    facts = world.kit
    code = place / kit_folder.CODE
    never = shutil.ignore_patterns(*setup_machine.NEVER_COPIED)
    for name in setup_machine.COPIED:
        source = facts.code / name
        if source.is_dir():
            shutil.copytree(source, code / name, ignore=_not_ours if name == "configs" else never, copy_function=shutil.copyfile)
        elif source.is_file():
            shutil.copyfile(source, code / name)
    found = facts.copy_configuration(place / kit_folder.CONFIGURATION)
    for name, reason in found["left_out"].items():
        world.warn(f"{name} is not in the kit: {reason}")
    facts.put_pinned(place)
    keys = place / kit_folder.KEYS
    for name, text in facts.public_keys().items():
        (keys / name).parent.mkdir(parents=True, exist_ok=True)
        (keys / name).write_text(text, "utf-8")
    keys.mkdir(exist_ok=True)
    (keys / "FINGERPRINTS").write_text("".join(f"{line}\n" for line in facts.fingerprints()), "utf-8")
    lines, unknown = facts.addresses()
    (place / kit_folder.ADDRESSES).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if unknown:
        world.warn(f"nobody knows the address of {', '.join(unknown)} now, so the kit does not either")
    moment = world.now.astimezone(world.config.organisation.tz)
    pages.write(place / kit_folder.PRINT, facts.facts(f"{moment:%Y-%m-%d %H:%M %Z}"))
    shutil.copyfile(Path(pages.__file__).parent / "start", place / "start")


def _not_ours(folder: str, names: list[str]) -> set[str]:
    """What of ``configs/`` is not the program's: in a checkout somebody's configuration may lie there, with its keys."""
    return {name for name in names if not name.endswith((".example.yaml", ".lock", ".md")) or os.path.isdir(os.path.join(folder, name))}


def _finish(place: Path, target: Path, params: KitBuildParams, world: World) -> None:
    system = apt.read_facts(())
    files = {str(path.relative_to(place)): [path.stat().st_size, sha256_of(path)]
             for path in sorted(place.rglob("*")) if path.is_file() and path.name != kit_folder.INDEX}
    record = {
        "format": KIT, "time": world.now.isoformat(), "run": world.run, "host": world.host, "present": world.kit.present().as_json(),
        "for": {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "system": system.system, "codename": system.codename,
                "machine": platform.machine(), "packages": params.packages},
        "opsctl": opsctl.__version__, "people_fingerprint": world.kit.people_fingerprint, "files": files,
    }
    content = write_index(record, world.signatures.sign(canonical(record), NAMESPACE))
    settle(world, place)
    if place.parent != target:
        (place / kit_folder.INDEX).write_bytes(content)
        settle(world, place)
        show(place, target)
        world.kit.remember(record, str(target))
        return
    for path in sorted(place.iterdir()):
        os.replace(path, target / path.name)
    (place / kit_folder.INDEX).write_bytes(content)
    settle(world, place)
    os.replace(place / kit_folder.INDEX, target / kit_folder.INDEX)
    world.kit.remember(record, str(target))
    try:
        place.rmdir()
    except OSError as error:
        raise OpsError(f"{place} is not empty") from error
