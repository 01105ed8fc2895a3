"""rotate_key: another key signs for this controller from now on, and everybody who trusted the old one is shown why."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl.actions.consenting import with_consent
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.consent import FEWEST
from opsctl.model.records import NAMESPACES, ROTATION, canonical
from opsctl.model.rotation import statement
from opsctl.repositories.whole import write_whole
from opsctl.shells.signing import Signer, fingerprint


class RotateKeyParams(Params):
    """``old`` and ``new`` are fingerprints; ``agreed``: the old key is not here, and people sign instead of it."""

    repositories: tuple[str, ...]
    old: str
    new: str
    agreed: bool = False


@dataclass(frozen=True)
class Seen:
    """``said``: the statement is signed and kept; ``swapped``: the new key signs; ``told``: repositories that hold the record."""

    said: bool
    swapped: bool
    told: frozenset[str]


class RotateKey(StateAction[RotateKeyParams, Seen]):
    """Lets a new key sign for this controller. The sets of the old one stay good, up to this moment.

    with:
      repositories  names of the repositories that the rotation is written into
      old, new      fingerprints; the new key lies as `keys/next` beside the configuration
      agreed        true: the old key is lost, and the signatures of two people behind an `approve` step stand in its place

    The statement is signed by the old key and by the new one, and lies in each repository as a record. A machine that trusts the
    one key trusts the other by it; what the old key signs later counts for nothing. Where a key has two successors, one of
    which may be a thief's, neither counts by its word.
    """

    word = "rotate_key"
    Params = RotateKeyParams

    def locks(self, params: RotateKeyParams) -> Sequence[str]:
        return ("controller-key",)

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        return FEWEST if params.get("agreed") is True else 0

    def observe(self, params: RotateKeyParams, world: World) -> Seen:
        keys = world.keys_directory
        told = set()
        for name in params.repositories:
            history = world.repository(name)
            history.require_here()
            history.require_known()
            history.look(world.clock())
            if any((one.old, one.new) == (params.old, params.new) for one in history.rotations):
                told.add(name)
        swapped = _fingerprint(keys / "controller.pub") == params.new and not (keys / "next").exists() and not (keys / "next.pub").exists()
        if not swapped and params.new not in (_fingerprint(keys / "next.pub"), _fingerprint(keys / "controller.pub")):
            raise SafetyRefusal(f"the new key {params.new} is neither {keys}/next nor {keys}/controller", hint="opsctl keys rotate makes one")
        return Seen(_kept(keys, params) is not None, swapped, frozenset(told))

    def plan(self, params: RotateKeyParams, seen: Seen) -> list[Change]:
        changes = []
        if not seen.said:
            who = "the new key" if params.agreed else "the old and the new key"
            changes.append(Change("statement", f"sign with {who} that {params.new} follows {params.old}"))
        if not seen.swapped:
            changes.append(Change("swap", "let the new key sign from now on; the old one is kept aside", tuple(one.key for one in changes)))
        before = tuple(one.key for one in changes)
        return [*changes, *(Change(f"repository:{name}", f"write the rotation into {name}", before)
                            for name in params.repositories if name not in seen.told)]

    def apply(self, params: RotateKeyParams, change: Change, world: World) -> None:
        keys = world.keys_directory
        if change.key == "statement":
            _state(keys, params, world)
        elif change.key == "swap":
            _swap(keys, params, world.run)
        else:
            name = change.key.partition(":")[2]
            held = _kept(keys, params)
            if held is None:
                raise DamagedData(f"the statement of the rotation is gone from {keys}/rotations", hint="opsctl resume signs it again")
            history = world.repository(name)
            record = {"format": ROTATION, "repository": history.identity().id, "run": world.run, "time": world.clock().isoformat(),
                      "host": world.host, "by": world.by, **held}
            if params.agreed:
                record = with_consent(record, history, world)
            history.write(record, tags=("rotation",), filename=f"opsctl-rotation-{world.run}.json", host=world.host)

    def result(self, params: RotateKeyParams, seen: Seen) -> Mapping[str, Any]:
        return {"old": params.old, "new": params.new, "signs": params.new if seen.swapped else params.old, "told": sorted(seen.told)}


def _place(keys: Path, params: RotateKeyParams) -> Path:
    return keys / "rotations" / f"{_short(params.old)}-{_short(params.new)}.json"


def _short(mark: str) -> str:
    return mark.removeprefix("SHA256:")[:12].replace("/", "_").replace("+", "-")


def _kept(keys: Path, params: RotateKeyParams) -> dict[str, Any] | None:
    try:
        held = json.loads(_place(keys, params).read_text())
        said = held["statement"]
        return held if (said["old"], said["new"]) == (params.old, params.new) and held["by_new"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fingerprint(path: Path) -> str | None:
    try:
        return fingerprint(path.read_text())
    except (OSError, OpsError, UnicodeDecodeError):
        return None


def _state(keys: Path, params: RotateKeyParams, world: World) -> None:
    said = statement(params.old, params.new, world.clock())
    words, namespace = canonical(said), NAMESPACES[ROTATION]
    new = keys / "next" if (keys / "next").exists() else keys / "controller"
    held = {"statement": said, "by_new": Signer(new, world.shell).sign(words, namespace)}
    if not params.agreed:
        held["by_old"] = Signer(keys / "controller", world.shell).sign(words, namespace)
    for who, key in (("by_new", params.new), *((("by_old", params.old),) if not params.agreed else ())):
        if world.signatures.check(words, held[who], namespace) != key:
            raise SafetyRefusal(f"{keys} holds other keys than this run was planned with", hint="opsctl keys rotate, once more")
    _place(keys, params).parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(_place(keys, params), json.dumps(held, indent=1).encode() + b"\n")


def _swap(keys: Path, params: RotateKeyParams, run: str) -> None:
    """Rename, so that there is a key at every moment: the private half first, the public one tells that all is done."""
    for half in ("", ".pub"):
        fresh, place = keys / f"next{half}", keys / f"controller{half}"
        if not fresh.exists():
            continue
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.link(place, keys / f"controller-before-{run}{half}")
        os.replace(fresh, place)
    line = f"{params.old}  # followed by {params.new}, {run}\n"
    trusted = keys / "trusted"
    known = trusted.read_text() if trusted.exists() else ""
    if params.old not in known:
        write_whole(trusted, (known + line).encode())
