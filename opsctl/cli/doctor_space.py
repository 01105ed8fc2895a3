"""Is there room for the next set: in local repositories, and in the cache for those that are elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.cli.doctor import LEAST_FREE, OK, WARNING, WRONG, Check
from opsctl.model.quantities import format_size

LEAST_ROOM = 64 << 20
"""Bytes that any repository needs free: some packs, an index, and what restic writes before it takes something away."""

_SHARE_OF_CACHE = 50
"""restic's cache holds indexes and folders: about a fiftieth of the data."""


def repository(name: str, spec: Any, newest: int) -> Check | None:
    """Room in a repository on this machine, ``newest`` being the bytes of its newest sets (0: not known).

    What has not changed takes no room again, so that less than a whole set is a warning; less than a tenth is wrong.
    """
    if not spec.local:
        return None
    free = _free(Path(spec.url))
    if free is None:
        return None  # that it cannot be looked at is said where it is opened
    seen = f"{format_size(free)} free at {spec.url}"
    if newest:
        seen += f"; the newest set has {format_size(newest)}"
    hint = "make room there, or let the repository move to a larger disk"
    if free < max(LEAST_ROOM, newest // 10):
        return Check(f"space of {name}", WRONG, seen, hint)
    if not newest and free < LEAST_FREE:
        return Check(f"space of {name}", WARNING, seen, hint)
    if free < newest:
        return Check(f"space of {name}", WARNING, seen, f"a set of which everything is new would not fit: {hint}")
    return Check(f"space of {name}", OK, seen)


def cache(state: Path, sizes: Mapping[str, int]) -> Check | None:
    """Room for the cache of the repositories that are elsewhere: ``sizes`` has the bytes of each one's newest sets."""
    wanted = sum(sizes.values()) // _SHARE_OF_CACHE
    free = _free(state)
    if not wanted or free is None or free >= LEAST_FREE + wanted:
        return None
    return Check("cache", WARNING, f"{format_size(free)} free in {state}, where about {format_size(wanted)} of cache belong",
                 "make room there; without a cache everything is slower, and nothing fails")


def newest_sizes(standings: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the newest sets by repository, as last seen, from the catalogue's standings."""
    found: dict[str, int] = {}
    for name, size in _sizes(standings):
        found[name] = found.get(name, 0) + size
    return found


def _sizes(standings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for standing in standings.values():
        place, size = standing.get("repository"), standing.get("bytes")
        if isinstance(place, str) and isinstance(size, int):
            yield place, size


def _free(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return found.f_bavail * found.f_frsize
    return None
