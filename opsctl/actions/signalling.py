"""The change signals of one source in one set, taken so that nothing that fails in it is more than *unknown*."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from opsctl.errors import Interrupted, OpsError
from opsctl.model.sets import WHOLE, SetView
from opsctl.model.signals import FORMAT, LAST, together, unknown
from opsctl.model.values import value
from opsctl.repositories.interface import Repository
from opsctl.sources.interface import Evidence, Source

_AT_ONCE = 4  # sets that restic is asked of at one time; each call needs some hundred megabytes at worst


class Place(Protocol):
    """What is needed of a world, or of a command line that has none: sources, and an empty private directory."""

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any: ...

    def scratch(self) -> Any: ...


#: The snapshots whose signals were put off, by the world of the run that does so.
_just_taken: WeakKeyDictionary[Place, set[str]] = WeakKeyDictionary()


def before(sets: Sequence[SetView], view: SetView | None = None) -> list[SetView]:
    """The whole sets before this one (before one that is only being taken, where None), newest first."""
    # Sets of one minute stand in the order in which they were stored.
    earlier = [*itertools.takewhile(lambda one: one.id != view.id, sets)] if view is not None else sets
    whole = [one for one in earlier if one.state in WHOLE]
    return whole[::-1]


def just_taken(
    source: Source, name: str, entry: Mapping[str, Any], earlier: Sequence[SetView], repository: Repository, place: Place,
    touched: int | None = None,
) -> dict[str, Any]:
    """The signals of a source that was captured a moment ago, while it still is as it was. ``touched``: as ``Captured`` has it."""
    return _of(source, name, entry, earlier, repository, place, {}, live=True, touched=touched)


def put_off(place: Place, snapshot: str, touched: int | None) -> dict[str, Any]:
    """What to keep of a source that was captured a moment ago, for ``made_up_for`` to take its signals a moment later."""
    _just_taken.setdefault(place, set()).add(snapshot)
    return {"touched": touched}


def made_up_for(
    source: Source, name: str, entry: Mapping[str, Any], earlier: Sequence[SetView], repository: Repository, place: Place
) -> dict[str, Any]:
    """The signals that were put off. Where that was no moment ago, but before a kill, say, the source may no longer be as it was."""
    taken = _just_taken.get(place, set())
    live = entry["snapshot"] in taken
    taken.discard(entry["snapshot"])
    return _of(source, name, entry, earlier, repository, place, {}, live=live, touched=entry["put_off"]["touched"])


def of_set(
    view: SetView, earlier: Sequence[SetView], repository: Repository, place: Place, known: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The signals of a whole set, from the repository alone. ``known``: those of earlier sets that were not signed with them, by id."""
    found = {}
    for name, entry in view.sources.items():
        try:
            source = place.source(name, entry)
        except OpsError as error:
            found[name] = unknown(error.message).as_json()
            continue
        found[name] = _of(source, name, entry, earlier, repository, place, known, live=False)
    return together(found)


@value
class Old:
    """A whole set whose signals are to be computed, those before it, newest first, and where it is."""

    view: SetView
    earlier: Sequence[SetView]
    repository: Repository


def of_sets(wanted: Sequence[Old], place: Place, known: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """As ``of_set``, of several, oldest first, in their order: restic is asked of some at a time, each judged after those before it."""
    made: dict[str, Future[dict[str, Any]]] = {}
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        for one in wanted:
            made[one.view.id] = pool.submit(of_set, one.view, one.earlier, one.repository, place, _Soon(known, dict(made)))
        for future in made.values():
            yield future.result()


class _Soon(Mapping[str, Mapping[str, Any]]):
    """Signals by set: those that are known, and those that will be, which are waited for."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]], made: Mapping[str, Future[dict[str, Any]]]) -> None:
        self._known = known
        self._made = made

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._made[name].result() if name in self._made else self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._made})

    def __len__(self) -> int:
        return len({**self._known, **self._made})


def _of(
    source: Source, name: str, entry: Mapping[str, Any], earlier: Sequence[SetView], repository: Repository, place: Place,
    known: Mapping[str, Mapping[str, Any]], *, live: bool, touched: int | None = None,
) -> dict[str, Any]:
    previous = earlier[0].sources.get(name) if earlier else None

    def so_far() -> tuple[Mapping[str, Any], ...]:
        seen = (_signals(one, known).get("sources", {}).get(name) for one in earlier[:LAST])
        return tuple(one for one in seen if one)

    try:
        with place.scratch() as scratch:
            evidence = Evidence(repository, entry, previous, so_far, scratch, live, touched)
            return source.signals(evidence).as_json()
    except Interrupted:
        raise
    except (OpsError, OSError, MemoryError) as error:
        return unknown(f"looking at what changed failed: {getattr(error, 'message', None) or error}").as_json()


def _signals(view: SetView, known: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    found = known.get(view.id) or view.signals
    return found if found.get("format") == FORMAT else {}
