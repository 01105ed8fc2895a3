"""The list of a repository's snapshots, read once, with what only pretends to be one named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.model.snapshots import Finding, Snapshot
from opsctl.repositories import restic_failures, restic_output
from opsctl.repositories.interface import SnapshotCache
from opsctl.repositories.restic_failures import Caller
from opsctl.repositories.store import SHORTEST, is_object_name

_AT_ONCE = 500  # ids on one command line
_IGNORED = re.compile(r'^Ignoring "(?P<id>[0-9a-f]{64})"', re.MULTILINE)


class Listing:
    """Snapshots by id. A known id is never read again: it is the hash of its content."""

    def __init__(self, cache: SnapshotCache | None) -> None:
        self.repository_id: str | None = None
        self.junk: list[Finding] = []
        self._cache = cache
        self._known: dict[str, Mapping[str, Any]] = {}

    @property
    def needs_id(self) -> bool:
        return self._cache is not None and self.repository_id is None

    def read(self, caller: Caller) -> list[Snapshot]:
        """All readable snapshots, oldest first; fills ``junk``."""
        if self._cache is not None and self.repository_id is not None:
            self._known.update(self._cache.get_snapshots(self.repository_id))
        self.junk = []
        ids = self._told(caller) if caller.place.store is None else self._listed(caller)
        found = []
        for name in ids:
            try:
                found.append(Snapshot.from_json(self._known[name]))
            except (KeyError, ValueError, TypeError):
                self.junk.append(
                    restic_failures.junk("snapshots", name, "opens with our key, but is no snapshot")
                )
        return sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id))

    def _listed(self, caller: Caller) -> list[str]:
        """Ids by the store's own listing; restic is asked only for those that are not known yet."""
        store = caller.place.store
        assert store is not None
        names = []
        for name, size in store.list("snapshots").items():
            if is_object_name(name) and size >= SHORTEST:
                names.append(name)
            else:
                self.junk.append(
                    restic_failures.junk("snapshots", name, f"is no object of restic's ({size} bytes)")
                )
        unknown = [name for name in names if name not in self._known]
        if unknown:
            # Named one by one where something is planted: restic reads only these, and crashes on none.
            named = len(unknown) <= _AT_ONCE or bool(self.junk)
            self._keep(self._load(caller, unknown) if named else self._load_all(caller, unknown))
        for name in unknown:
            if name in self._known:
                continue
            names.remove(name)
            digest = store.digest("snapshots", name)
            if digest == name:
                self.junk.append(
                    restic_failures.junk("snapshots", name, "does not open with this repository's key")
                )
            elif digest is not None:
                self.junk.append(restic_failures.damaged_object("snapshots", name))
        return names

    def _told(self, caller: Caller) -> list[str]:
        """Ids by restic, where the store cannot be read directly."""
        result = caller.call("list the snapshots", ["snapshots", "--json", "--no-lock"], accept=None)
        if result.code == 0:
            found = restic_output.array(result.stdout)
            bad = _IGNORED.findall(result.errors)
        else:
            if not restic_output.panicked(result.stderr):
                raise caller.failure("list the snapshots", result)
            listed = caller.call("list the snapshots", ["list", "snapshots", "--no-lock"]).text.split()
            found = self._load(caller, [name for name in listed if is_object_name(name)])
            bad = sorted(set(listed) - {str(each["id"]) for each in found})
        self._keep(found)
        self.junk += [
            restic_failures.junk("snapshots", name, "cannot be read: planted or damaged") for name in bad
        ]
        return [str(each["id"]) for each in found]

    def _load_all(self, caller: Caller, unknown: Sequence[str]) -> list[Mapping[str, Any]]:
        result = caller.call("list the snapshots", ["snapshots", "--json", "--no-lock"], accept=None)
        return restic_output.array(result.stdout) if result.code == 0 else self._load(caller, unknown)

    def _load(self, caller: Caller, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Those of ``ids`` that restic can read, found by halves where one of them crashes it."""
        if len(ids) > _AT_ONCE:
            return self._load(caller, ids[:_AT_ONCE]) + self._load(caller, ids[_AT_ONCE:])
        result = caller.call("list the snapshots", ["snapshots", "--json", "--no-lock", *ids], accept=None)
        if result.code == 0:
            return restic_output.array(result.stdout)
        if not restic_output.panicked(result.stderr):
            raise caller.failure("list the snapshots", result)
        if len(ids) == 1:
            return []
        middle = len(ids) // 2
        return self._load(caller, ids[:middle]) + self._load(caller, ids[middle:])

    def _keep(self, found: Sequence[Mapping[str, Any]]) -> None:
        new = {str(raw["id"]): raw for raw in found if raw.get("id") not in self._known}
        self._known.update(new)
        if new and self._cache is not None and self.repository_id is not None:
            self._cache.put_snapshots(self.repository_id, new)
