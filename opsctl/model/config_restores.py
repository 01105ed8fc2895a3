"""What a service is brought back from: which backup holds its sources, and where each of them goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsctl.model.fields import Mistake, entries, mapping, meant, shown

#: Kinds of source whose data goes into a database; that of the others goes into folders and files.
DATABASES = ("postgresql", "mariadb")


def home_of(sources: Sequence[str], backups: Mapping[str, Sequence[str]]) -> list[str]:
    """The backups that hold all of these sources."""
    return [name for name, held in backups.items() if sources and set(sources) <= set(held)]


def restores_mistakes(data: Any) -> Iterator[Mistake]:
    """Sources that are not there, or whose sets cannot be told; ``data`` may have any shape."""
    sources = mapping(data, "sources")
    backups = {name: _texts(entry.get("sources")) for name, entry in entries(data, "backups")}
    owner: dict[str, str] = {}
    for name, entry in entries(data, "services"):
        place = ("services", name)
        restores = _texts(entry.get("restores"))
        for number, source in enumerate(restores):
            where = (*place, "restores", number)
            if source not in sources:
                yield where, f"there is no source {shown(source)}{meant(source, sources)}"
            elif source in owner:
                yield where, f"{shown(source)} is restored for {owner[source]} already; what lives on it as well says needs: [{owner[source]}]"
            owner.setdefault(source, name)
        known = [source for source in restores if source in sources]
        if known and len(known) == len(restores):
            yield from _backup_mistakes(place, entry, known, backups)
        yield from _into_mistakes(place, entry, restores, sources)
        for key in ("backup", "rpo"):
            if entry.get(key) is not None and not restores:
                yield (*place, key), "is for a service that restores: something"


def _backup_mistakes(
    place: tuple[str, str], entry: Mapping[str, Any], restores: Sequence[str], backups: Mapping[str, Sequence[str]],
) -> Iterator[Mistake]:
    said, homes = entry.get("backup"), home_of(restores, backups)
    if isinstance(said, str):
        if said not in backups:
            yield (*place, "backup"), f"there is no backup {shown(said)}{meant(said, backups)}"
        elif said not in homes:
            lacking = next(one for one in restores if one not in backups[said])
            yield (*place, "backup"), f"{shown(said)} does not hold {shown(lacking)}"
    elif len(homes) > 1:
        yield (*place, "restores"), f"{', '.join(homes)} hold these: say with backup: which of them it is brought back from"
    elif not homes:
        alone = next((one for one in restores if not home_of([one], backups)), None)
        yield (*place, "restores"), (
            f"{shown(alone)} is in no backup" if alone is not None
            else "no backup holds all of these; write a service for those of each backup, and let this one need them")


def _into_mistakes(
    place: tuple[str, str], entry: Mapping[str, Any], restores: Sequence[str], sources: Mapping[str, Any],
) -> Iterator[Mistake]:
    for source, target in mapping(entry, "into").items():
        where = (*place, "into", source)
        kind = mapping(sources, source).get("kind")
        if source not in restores:
            yield where, f"{shown(str(source))} is not among what it restores{meant(str(source), restores)}"
        elif not isinstance(target, str) or kind not in ("paths", "sqlite", *DATABASES):
            continue
        elif kind in DATABASES and ("/" in target or target.startswith("-") or "=" in target):
            yield where, "must be the name of a database"
        elif kind not in DATABASES and not target.startswith("/"):
            yield where, "must be an absolute path"


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
