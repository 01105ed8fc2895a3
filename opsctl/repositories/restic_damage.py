"""What is damaged in a repository, by name, with the snapshots and files it reaches.

restic's own verdict is one look, the store's objects are the other: what only one of them shows is still
reported, and a verdict that a second look does not confirm (a bad download) is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsctl.errors import DamagedData, Unreachable
from opsctl.model.snapshots import Finding, Progress, Snapshot
from opsctl.repositories import restic_failures
from opsctl.repositories.interface import OnProgress
from opsctl.repositories.restic_failures import Caller, Place, Reader
from opsctl.repositories.restic_reach import Reach, Reached
from opsctl.repositories.restic_verdict import Verdict, read_verdict
from opsctl.repositories.store import Store

_LOOKED_AT = ("keys", "snapshots", "index")
_UNREADABLE = {"snapshots", "index", "locks"}  # where a bad object keeps restic from reading the good ones


def check(caller: Reader, share: tuple[int, int] | None, on_progress: OnProgress | None) -> list[Finding]:
    """Everything that is wrong; an empty list where nothing is."""
    if share is not None and not 1 <= share[0] <= share[1] <= 256:
        raise ValueError(f"no share n/M with 1 <= n <= M <= 256: {share}")
    if on_progress is not None:
        on_progress(Progress(f"checking {caller.place.name}"))
    try:
        return _Check(caller, share).run()
    except DamagedData as error:
        return [finding_of(error)]


def finding_of(error: DamagedData) -> Finding:
    """The finding that a raised damage stands for."""
    return Finding(
        error.details.get("kind", "structure"),
        error.message,
        object=error.details.get("object"),
        reaches_all=True,
        repair=error.hint,
    )


def bad_indexes(caller: Caller) -> list[Finding]:
    """Index objects that restic cannot read, by its own word: after a failure that did not name them."""
    try:
        # With a bad index restic ends at once; a minute is for the case that there is none.
        result = caller.call("check", ["check", "--json", "--no-lock"], accept=None, timeout=60)
    except (Unreachable, DamagedData):
        return []
    verdict = read_verdict(result)
    store = caller.place.store
    return [_bad_index(name, store) for name in verdict.indexes] if verdict is not None else []


class _Check:
    """One check of one repository."""

    def __init__(self, caller: Reader, share: tuple[int, int] | None) -> None:
        self._caller = caller
        self._share = share
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        place = self._caller.place
        self._caller.make_sure()
        if place.store is not None:
            self._findings = restic_failures.suspicious(place.store, _LOOKED_AT, place.pinned)
        if any(finding.kind == "config-damaged" for finding in self._findings):
            return self._findings
        try:
            snapshots = self._caller.snapshots()
            self._add(self._caller.junk())
            self._add(self._caller.planted_locks())
            verdict = self._verdict()
            if verdict.is_empty and verdict.orphan_packs and self._share is not None:
                self._add([Finding("pack-unreferenced", "there are packs that no index names; no snapshot needs them")])
            if not verdict.is_empty:
                self._name(verdict, snapshots, place)
        except DamagedData as error:
            # A key or config that cannot be used stops restic; it was named above.
            if not self._findings:
                raise
            self._add([finding_of(error)])
        return self._findings

    @property
    def _hidden(self) -> list[str]:
        """Objects that restic must not meet."""
        return [
            finding.object
            for finding in self._findings
            if finding.object and finding.object.split("/")[0] in _UNREADABLE
        ]

    def _verdict(self) -> Verdict:
        """What restic says, without what a second look does not confirm."""
        first = self._ask()
        if first.is_empty:
            return first
        store = self._caller.place.store
        if store is not None:
            first = _confirmed(first, store)
            if first.packs or first.indexes:
                return first  # what else it says follows from these
            if first.is_empty:
                return first
        return first.also_in(self._ask())

    def _ask(self) -> Verdict:
        words = ["check", "--json"]
        if self._share is not None:
            words.append(f"--read-data-subset={self._share[0]}/{self._share[1]}")
        result = self._caller.call("check", words, accept=None, timeout=0, hidden=self._hidden)
        if result.code and restic_failures.cannot_lock(result):
            result = self._caller.call(
                "check", [*words, "--no-lock"], accept=None, timeout=0, hidden=self._hidden
            )
        verdict = read_verdict(result)
        if verdict is None:
            raise self._caller.failure("check", result)
        return verdict

    def _name(self, verdict: Verdict, snapshots: Sequence[Snapshot], place: Place) -> None:
        """Turn restic's verdict into findings with what they reach."""
        self._add([_bad_index(name, place.store) for name in verdict.indexes])
        known = {finding.object for finding in self._findings}
        bad_indexes = [name for name in known if name and name.startswith("index/")]
        bad_packs = [f"data/{name}" for name in verdict.packs]
        if bad_indexes and not verdict.trees:
            # With a bad index restic stops early. Without that index it tells what is missing with it.
            verdict = verdict.joined(self._without_indexes(bad_indexes))
        reach = Reach(self._caller, snapshots, [*self._hidden, *bad_indexes, *bad_packs])
        for name, (kind, text) in verdict.packs.items():
            self._add([_pack(kind, name, text, reach.of_pack(name))])
        if verdict.trees and (bad_indexes or not verdict.packs):
            self._add_unreachable(verdict, reach.of_trees(verdict.trees), bad_indexes, place.store)
        for short, text in verdict.snapshots.items():
            self._add_snapshot(short, text)
        self._add(
            [
                Finding(
                    "structure",
                    text,
                    reaches_all=True,
                    repair="ask restic's troubleshooting guide; change nothing yet",
                )
                for text in verdict.others
            ]
        )

    def _without_indexes(self, bad: Sequence[str]) -> Verdict:
        if self._caller.place.store is None:
            return Verdict()
        result = self._caller.call(
            "check", ["check", "--json"], accept=None, timeout=0, hidden=[*self._hidden, *bad]
        )
        return read_verdict(result) or Verdict()

    def _add_unreachable(
        self,
        verdict: Verdict,
        reached: Reached,
        bad_indexes: Sequence[str],
        store: Store | None,
    ) -> None:
        """Data that no index names: because an index is bad, because one is gone, or because the data is."""
        damaged = [
            finding
            for finding in self._findings
            if finding.object in bad_indexes and finding.kind == "index-damaged"
        ]
        if damaged or verdict.packs:
            self._findings = [
                reached.onto(finding) if finding in damaged else finding for finding in self._findings
            ]
        elif verdict.orphan_packs:
            empty = store is not None and not store.list("index")
            what = "all index objects are gone" if empty else "an index object is gone"
            missing = Finding(
                "index-missing",
                f"{what}: the data is there, but nothing says where",
                object="index/",
                reaches_all=empty,
                repair="restic repair index builds it anew from the packs; nothing is lost"
                " (never restic prune)",
            )
            self._add([reached.onto(missing)])
        else:
            lost = Finding(
                "structure",
                "data that snapshots need is neither in an index nor in a pack",
                repair="fetch what is missing from another copy of the repository; while the sources still exist, opsctl"
                " backup run stores again what is still as it was",
            )
            self._add([reached.onto(lost)])

    def _add_snapshot(self, short: str, text: str) -> None:
        """A snapshot that restic could not load, unless the store's own look named it already."""
        if any((finding.object or "").startswith(f"snapshots/{short}") for finding in self._findings):
            return
        if "invalid data" in text:
            self._add([restic_failures.damaged_object("snapshots", short)])
        else:
            self._add([restic_failures.junk("snapshots", short, "does not open with this repository's key")])

    def _add(self, findings: Sequence[Finding]) -> None:
        seen = {(each.kind, each.object) for each in self._findings if each.object}
        for finding in findings:
            if finding.object is None or (finding.kind, finding.object) not in seen:
                self._findings.append(finding)


def _bad_index(name: str, store: Store | None) -> Finding:
    if store is not None and store.digest("index", name) == name:
        return restic_failures.junk("index", name, "does not open with this repository's key")
    return restic_failures.damaged_object("index", name)


def _confirmed(verdict: Verdict, store: Store) -> Verdict:
    """The verdict without packs and indexes that are in order when read again."""
    sizes = store.list("data") if verdict.packs or verdict.short_packs else {}
    packs = dict(verdict.packs)
    for short in verdict.short_packs:
        for name in sizes:
            if name.startswith(short):
                packs.setdefault(name, ("pack-damaged", "unexpected pack id"))
    kept = {}
    for name, (kind, text) in packs.items():
        if kind == "pack-missing":
            if name not in sizes:
                kept[name] = (kind, text)
        elif kind == "pack-truncated":
            if sizes.get(name) != verdict.expected_sizes.get(name):
                kept[name] = (kind, text)
        elif "unexpected pack id" not in text or store.digest("data", name) != name:
            kept[name] = (kind, text)
    indexes = {
        name: text
        for name, text in verdict.indexes.items()
        if "invalid data" not in text or store.digest("index", name) != name
    }
    return replace(verdict, packs=kept, indexes=indexes)


def _pack(kind: str, name: str, text: str, reached: Reached) -> Finding:
    said = {
        "pack-missing": "is missing",
        "pack-truncated": f"is cut short ({text})",
        "pack-damaged": "is damaged: its content is not what its name says",
    }[kind]
    # After `repair index` the index still names a pack that is there, and what it names is not stored again; `repair
    # packs` cannot begin with one that is gone.
    dropped = (
        "restic repair index drops it from the index" if kind == "pack-missing" else
        f"restic repair packs {name} salvages what is whole in it, drops the rest from the index and leaves a copy of it in the"
        " folder it is called from"
    )
    repair = (
        f"put it back from another copy; or, while the sources still exist: {dropped}, then opsctl backup run stores again what"
        " is still as it was"
    )
    return reached.onto(Finding(kind, f"pack {name[:12]} {said}", object=f"data/{name}", repair=repair))
