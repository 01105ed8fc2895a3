"""Which snapshots and files a piece of a repository belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from opsctl.model.quantities import counted
from opsctl.model.snapshots import Finding, Snapshot
from opsctl.repositories import restic_output
from opsctl.repositories.restic_failures import Caller
from opsctl.shells.interface import Result

_ONE_BY_ONE = 20  # packs that are looked up each with a call of its own
_AT_ONCE = 1000  # ids on one command line
_UNLOADABLE = re.compile(
    r"Unable to load tree (?P<tree>[0-9a-f]{64})"
    r"\s+\.\.\. which belongs to snapshot (?P<snapshot>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Reached:
    """Snapshot ids and paths. A path that ends in ``/`` stands for everything below it."""

    snapshots: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def onto(self, finding: Finding) -> Finding:
        """The finding with what it reaches, in its fields and its message."""
        if not self.snapshots:
            return replace(finding, message=f"{finding.message}; no snapshot needs it")
        files, sets = tuple(sorted(self.files)), tuple(sorted(self.snapshots))
        message = f"{finding.message}: {counted(len(files), 'path')} in {counted(len(sets), 'snapshot')}"
        return replace(finding, message=message, files=files, sets=sets)

    def joined(self, other: Reached) -> Reached:
        return Reached(self.snapshots | other.snapshots, self.files | other.files)


class Reach:
    """Answers for one check. ``hidden``: objects that restic must not meet while it looks."""

    def __init__(self, caller: Caller, snapshots: Sequence[Snapshot], hidden: Sequence[str]) -> None:
        self._caller = caller
        self._paths = {snapshot.id: snapshot.paths for snapshot in snapshots}
        self._hidden = hidden
        self._packs = [name.removeprefix("data/") for name in hidden if name.startswith("data/")]
        self._rest: Reached | None = None

    def of_pack(self, pack: str) -> Reached:
        """What needs a pack. Beyond the first twenty, packs are looked up together and share the answer."""
        if pack in self._packs[:_ONE_BY_ONE] or len(self._packs) <= _ONE_BY_ONE:
            return self._find("--pack", [pack])
        if self._rest is None:
            self._rest = self._find("--pack", self._packs[_ONE_BY_ONE:])
        return self._rest

    def of_trees(self, trees: Mapping[str, frozenset[str]]) -> Reached:
        """What needs trees: the named files in each; everything below where a tree itself cannot be read."""
        ids = [tree for tree in trees if len(tree) == 64][:_AT_ONCE]
        if not ids:
            return Reached()
        result = self._look("--tree", ids)
        found = self._unloadable(result)
        for raw in _matches(result):
            path, names = str(raw.get("path", "")), trees.get(str(raw.get("id", "")), frozenset())
            files = {f"{path.rstrip('/')}/{name}" for name in names} or {f"{path.rstrip('/')}/"}
            found = found.joined(Reached(frozenset({str(raw["snapshot"])}), frozenset(files)))
        return found

    def _find(self, kind: str, ids: Sequence[str]) -> Reached:
        result = self._look(kind, ids)
        found = self._unloadable(result)
        snapshots, files = set(), set()
        for raw in _matches(result):
            path = str(raw.get("path", ""))
            snapshots.add(str(raw["snapshot"]))
            files.add(path if raw.get("object_type") == "blob" else f"{path.rstrip('/')}/")
        return found.joined(Reached(frozenset(snapshots), frozenset(files)))

    def _unloadable(self, result: Result) -> Reached:
        """Directories that cannot be listed: restic names the tree that holds them, and the snapshot."""
        pairs = _UNLOADABLE.findall(result.text)  # between the JSON objects, or right behind one
        if not pairs:
            return Reached()
        holders = {tree for tree, _ in pairs}
        again = self._look("--tree", sorted(holders)[:_AT_ONCE])
        paths = {
            (str(raw.get("id")), str(raw.get("snapshot"))): str(raw.get("path")) for raw in _matches(again)
        }
        files: set[str] = set()
        for tree, snapshot in pairs:
            path = paths.get((tree, snapshot), "/")
            below = [path] if path != "/" else self._paths.get(snapshot, ("/",))
            files.update(f"{each.rstrip('/')}/" for each in below)
        return Reached(frozenset(snapshot for _, snapshot in pairs), frozenset(files))

    def _look(self, kind: str, ids: Iterable[str]) -> Result:
        return self._caller.call(
            "find what is reached",
            ["find", "--json", "--no-lock", kind, *ids],
            accept=None,
            timeout=0,
            hidden=self._hidden,
        )


def _matches(result: Result) -> list[Mapping[str, object]]:
    return [each for each in restic_output.objects(result.stdout) if "snapshot" in each]
