"""Which damage of a repository is still open: what its records of verification name, and no later reading found mended. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from opsctl.model.sets import WHOLE, SetView
from opsctl.model.shares import NOT_OF_PACKS
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

#: Where restic ends before it has looked at the rest: what such a look does not name may still be there.
_BLINDING = frozenset({"config-damaged", "config-missing", "index-damaged", "index-missing", "key-damaged", "key-missing",
                       "repository-replaced", "structure"})
_PACK = re.compile(r"data/([0-9a-f]{2})[0-9a-f]{62}")
_SAID = {"pack-damaged": "is damaged", "pack-missing": "is missing", "pack-truncated": "is cut short"}


@value
class Damage:
    """One damage. ``found`` and ``run``: when, and by which verification, it was first seen; ``seen``: last.

    ``sets``: ids of the sets that it reaches (all of them where ``reaches_all``); ``of``: the same as ``BACKUP/SET``, as
    far as it is known: one run gives the sets of all its backups one id, and older records hold no more. ``deep``: only reading the data back can
    show that it is mended. ``sure``: whether the set that it is said of is known to need it, or only may.
    """

    kind: str
    object: str | None
    sets: tuple[str, ...]
    reaches_all: bool
    found: datetime
    seen: datetime
    run: str
    level: str
    shares: tuple[str, ...]
    deep: bool
    sure: bool = True
    of: tuple[str, ...] = ()

    def reaches(self, view: SetView) -> bool:
        """Whether the set is among those that it was found to reach."""
        return _name(view) in self.of or (view.id in self.sets and view.id not in {one.partition("/")[2] for one in self.of})

    @property
    def what(self) -> str:
        """``pack 6891649f0c1e is damaged``."""
        if self.object is None:
            return self.kind.replace("-", " ")
        folder, _, name = self.object.partition("/")
        if self.kind in _SAID:
            return f"pack {name[:12]} {_SAID[self.kind]}"
        return f"{folder}/{name[:12]}: {self.kind.replace('-', ' ')}"

    @property
    def share(self) -> str:
        """The smallest share of the packs that ``--share`` can name and that holds what is damaged; ``all`` if not known."""
        pack = _PACK.fullmatch(self.object or "")
        return f"{int(pack[1], 16) + 1}/256" if pack else "all"

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "object": self.object, "found": self.found.isoformat(), "seen": self.seen.isoformat(),
                "run": self.run, "level": self.level, "sure": self.sure}


def open_damage(records: Iterable[Mapping[str, Any]]) -> tuple[Damage, ...]:
    """What is open after these records of verification (oldest first), in the order in which it was found.

    A look ends what it could have seen and did not find. A byte that is wrong inside a pack is seen by nothing but a
    reading of that pack: restic reads a pack with share n/M where its first byte, modulo M, is n-1.
    """
    known: dict[tuple[str, ...], Damage] = {}
    for record in records:
        named = {_key(finding): finding for finding in record["findings"]}
        if not any(finding["kind"] in _BLINDING for finding in named.values()):
            known = {key: one for key, one in known.items() if key in named or not _could_see(one, record)}
        for key, finding in named.items():
            known[key] = _joined(known.get(key), finding, record)
    return tuple(known.values())


def could_see(damage: Damage, level: str, read: Iterable[int], total: int) -> bool:
    """Whether a look of this depth, with these shares of ``n/total``, would have seen it."""
    if not damage.deep:
        return True
    if level != "data" or total < 1:
        return False
    read = list(read)
    pack = _PACK.fullmatch(damage.object or "")
    if pack is None:
        return total == 1 or set(damage.shares) <= {f"{share}/{total}" for share in read}
    return any(int(pack[1], 16) % total == share - 1 for share in read)


def shares_of(damages: Iterable[Damage], total: int) -> list[int]:
    """The shares n of ``n/total`` that hold the packs that only a reading can clear, in order."""
    packs = (_PACK.fullmatch(one.object or "") for one in damages if one.deep)
    return sorted({int(pack[1], 16) % total + 1 for pack in packs if pack})


def of_set(view: SetView, damages: Sequence[Damage], backups: Mapping[Damage, Collection[str]]) -> tuple[Damage, ...]:
    """The open damage that reaches a set, or may: it was taken since, and shares with the older ones what did not change.

    ``backups``: whose sets each damage reaches. What the state of a set tells by itself is left out.
    """
    if view.state not in WHOLE:
        return ()
    found = []
    for one in damages:
        if one.kind in NOT_OF_PACKS:
            continue
        later = view.time is not None and view.time > one.seen
        if one.reaches(view) or (one.reaches_all and not later):
            found.append(one)
        elif later and (one.reaches_all or view.backup in backups[one]):
            found.append(replace(one, sure=False))
    return tuple(found)


def with_damage(views: Sequence[SetView], damages: Sequence[Damage]) -> tuple[SetView, ...]:
    """The sets, each with the open damage that reaches it in place of what it was said to have before."""
    if not damages:
        return tuple(replace(view, damage=()) if view.damage else view for view in views)
    backups = {one: {*(name.partition("/")[0] for name in one.of), *(view.backup for view in views if one.reaches(view))}
               for one in damages}
    return tuple(replace(view, damage=of_set(view, damages, backups)) for view in views)


def _could_see(damage: Damage, record: Mapping[str, Any]) -> bool:
    return could_see(damage, record["level"], record["shares"], record["total"])


def _key(finding: Mapping[str, Any]) -> tuple[str, ...]:
    return (finding["object"],) if finding.get("object") else (finding["kind"], *(finding.get("of") or finding.get("sets", ())))


def _name(view: SetView) -> str:
    return f"{view.backup}/{view.id}"


def _joined(before: Damage | None, finding: Mapping[str, Any], record: Mapping[str, Any]) -> Damage:
    time = parse_time(record["time"])
    deep = finding["kind"] == "pack-damaged" or (record["level"] == "data" and not finding.get("object"))
    shares = tuple(f"{share}/{record['total']}" for share in record["shares"])
    sets = tuple(finding.get("sets", ()))
    found = Damage(finding["kind"], finding.get("object"), sets, bool(finding.get("reaches_all")), found=time, seen=time,
                   run=record["run"], level=record["level"], shares=shares, deep=deep, of=tuple(finding.get("of", ())))
    if before is None:
        return found
    return replace(found, sets=tuple(dict.fromkeys([*before.sets, *sets])),
                   of=tuple(dict.fromkeys([*before.of, *found.of])), found=before.found, run=before.run,
                   level=before.level, shares=before.shares, deep=deep or before.deep,
                   reaches_all=found.reaches_all or before.reaches_all)
