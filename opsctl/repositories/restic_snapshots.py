"""The list of a repository's snapshots, read once, with what only pretends to be one named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.model.snapshots import Finding, Snapshot
from opsctl.repositories import restic_failures, restic_output
from opsctl.repositories.interface import SnapshotCache
from opsctl.repositories.restic_failures import Caller
from opsctl.repositories.store import SHORTEST, Store, is_object_name

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
        ids = self._readable(caller)
        found = []
        for name in ids:
            try:
                found.append(Snapshot.from_json(self._known[name]))
            except (KeyError, ValueError, TypeError):
                self.junk.append(
                    restic_failures.junk("snapshots", name, "opens with our key, but is no snapshot")
                )
        return sorted(found, key=lambda snapshot: (snapshot.time, snapshot.id))

    def _readable(self, caller: Caller) -> list[str]:
        """Ids of what is there; restic is asked only for those that are not known yet."""
        store = caller.place.store
        names = self._listed(store) if store is not None else self._told(caller)
        unknown = [name for name in names if name not in self._known]
        if unknown:
            self._keep(self._load(caller, unknown, everything=not self.junk))
        for name in unknown:
            if name in self._known:
                continue
            names.remove(name)
            digest = store.digest("snapshots", name) if store is not None else ""
            if digest == "":
                self.junk.append(restic_failures.junk("snapshots", name, "cannot be read, or is damaged"))
            elif digest == name:
                self.junk.append(restic_failures.junk("snapshots", name, "does not open with our key"))
            elif digest is not None:
                self.junk.append(restic_failures.damaged_object("snapshots", name))
        return names

    def _listed(self, store: Store) -> list[str]:
        """Names by the store's own listing."""
        names = []
        for name, size in store.list("snapshots").items():
            if is_object_name(name) and size >= SHORTEST:
                names.append(name)
            else:
                why = f"is no object of restic's ({size} bytes)"
                self.junk.append(restic_failures.junk("snapshots", name, why))
        return names

    def _told(self, caller: Caller) -> list[str]:
        """Names by restic, where the store cannot be read directly."""
        listed = caller.call("list the snapshots", ["list", "snapshots", "--no-lock"]).text.split()
        return [name for name in listed if is_object_name(name)]

    def _load(
        self, caller: Caller, ids: Sequence[str], *, everything: bool = False
    ) -> list[Mapping[str, Any]]:
        """Those of ``ids`` that restic can read, found by halves where one of them crashes it.

        Asked for single ids restic reads only these. The crash may come too late to be seen: the answer is
        then empty, without a complaint, and exits 0. What it neither shows nor complains of is asked again.
        """
        if len(ids) > _AT_ONCE and not everything:
            return self._load(caller, ids[:_AT_ONCE]) + self._load(caller, ids[_AT_ONCE:])
        named = ids if len(ids) <= _AT_ONCE else ()
        result = caller.call("list the snapshots", ["snapshots", "--json", "--no-lock", *named], accept=None)
        if result.code and not restic_output.panicked(result.stderr):
            raise caller.failure("list the snapshots", result)
        found = restic_output.array(result.stdout) if result.code == 0 else []
        answered = {str(each["id"]) for each in found} | set(_IGNORED.findall(result.errors))
        open_ids = [name for name in ids if name not in answered]
        if not open_ids or len(ids) == 1:
            return found
        middle = (len(open_ids) + 1) // 2
        for part in (open_ids[:middle], open_ids[middle:]):
            found += self._load(caller, part) if part else []
        return found

    def _keep(self, found: Sequence[Mapping[str, Any]]) -> None:
        new = {str(raw["id"]): raw for raw in found if raw.get("id") not in self._known}
        self._known.update(new)
        if new and self._cache is not None and self.repository_id is not None:
            self._cache.put_snapshots(self.repository_id, new)
