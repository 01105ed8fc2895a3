"""What a repository's snapshots and signed manifests say about its sets.

A set is one run of one backup; its manifest is the commit. Everything here is judged from three things: the
snapshots that are there, the records that are signed, and the ledger of what this machine has seen before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from opsctl.model.records import MANIFEST, Record
from opsctl.model.signals import FORMAT as SIGNALS
from opsctl.model.signals import UNKNOWN
from opsctl.model.snapshots import Finding, Snapshot, parse_time
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.model.damage import Damage

GOOD, COPY, INCOMPLETE, DAMAGED, FOREIGN, ALTERED, FUTURE, DELETED, PRUNED = (
    "good", "copy", "incomplete", "damaged", "foreign", "altered", "future", "deleted", "pruned",
)

#: States in which everything that was signed is there: a set in its own repository, and its copy in another one.
WHOLE = frozenset({GOOD, COPY})

#: States in which somebody else may have chosen what is in the set: nobody here vouched for the key, or a snapshot was rewritten.
UNVOUCHED = frozenset({FOREIGN, ALTERED})

#: How far ahead of our clock a set may be dated before it is not believed: clocks of two controllers differ.
SKEW = timedelta(hours=1)


@value
class SetView:
    """One set as it stands. Only ``good`` ones count as backups; ``reasons`` say why another does not.

    ``snapshots``: the snapshot of each source in this repository. A ``copy`` is whole, and was made in another
    repository: its manifest names the snapshots there. ``damage``: what verifications found in its data and no later
    one found mended.
    """

    id: str
    backup: str
    state: str
    time: datetime | None
    manifest: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    signer: str | None = None
    damage: tuple[Damage, ...] = ()

    @property
    def word(self) -> str:
        """The state as a person is told it: a set whose data is known to be damaged is not called good."""
        return DAMAGED if self.state in WHOLE and any(one.sure for one in self.damage) else self.state

    @property
    def sources(self) -> Mapping[str, Mapping[str, Any]]:
        """The manifest's entries, each with the id that its snapshot has in this repository."""
        entries: Mapping[str, Mapping[str, Any]] = self.record.get("sources", {})
        return {name: {**entry, "snapshot": self.snapshots.get(name, entry["snapshot"])}
                for name, entry in entries.items()}

    @property
    def signals(self) -> Mapping[str, Any]:
        """Its change signals as they were signed (``model.signals``); empty where its manifest is older than these."""
        found: Mapping[str, Any] = self.record.get("signals", {})
        return found if found.get("format") == SIGNALS else {}

    @property
    def verdict(self) -> str:
        """``clean``, ``suspect`` or ``unknown``, of what changed in it since the set before."""
        return str(self.signals.get("verdict", UNKNOWN))

    @property
    def taken_until(self) -> datetime | None:
        return taken_until(self.record)

    @property
    def bytes(self) -> int:
        return sum(entry.get("bytes", 0) for entry in self.sources.values())

    @property
    def added(self) -> int:
        return sum(entry.get("data_added_packed", 0) for entry in self.sources.values())


def origin_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Where in its snapshot a source's file lies that has another name at home, and that name; the same where it has none."""
    own = str(entry["paths"][0])
    return own, str(entry.get("origin") or own)


def inside(entry: Mapping[str, Any], path: str) -> str | None:
    """Where in a source's snapshot a path may be found that was its own at home; None where it can be in no part of it.

    A folder that holds the source is found in it, too.
    """
    own, origin = origin_of(entry)
    if origin != own:
        return own if path == own or _below(origin, path) else None
    return path if any(_below(path, root) or _below(root, path) for root in entry["paths"]) else None


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def taken_until(record: Mapping[str, Any]) -> datetime | None:
    """When a manifest's last source was captured, where that is much later than the set's time; else None.

    A run that was resumed does that. The set keeps the time of its run, so it never looks newer than its oldest data.
    Much is a day, or the backup's ``every`` where that is less.
    """
    taken = [parse_time(entry["taken"]) for entry in record.get("sources", {}).values() if entry.get("taken")]
    if not taken:
        return None
    late = (max(taken) - parse_time(record["time"])).total_seconds()
    return max(taken) if late > min(86400, record.get("every_seconds") or 86400) else None


@value
class Judgement:
    """All sets of a repository, oldest first, and what is wrong with the repository as a whole."""

    sets: tuple[SetView, ...]
    findings: tuple[Finding, ...]

    def of(self, backup: str) -> list[SetView]:
        return [found for found in self.sets if found.backup == backup]

    def newest_good(self, backup: str) -> SetView | None:
        """The newest good set, by its manifest's time; of several of one minute the one that was stored last."""
        return self._newest(backup, {GOOD})

    def newest_whole(self, backup: str) -> SetView | None:
        """The newest set that can be restored from here, a copy too."""
        return self._newest(backup, WHOLE)

    def _newest(self, backup: str, states: Collection[str]) -> SetView | None:
        found = [view for view in self.of(backup) if view.state in states]
        return max(reversed(found), key=_sort_time, default=None)


def judge(
    *,
    repository_id: str,
    snapshots: Sequence[Snapshot],
    records: Mapping[str, Record],
    trusted: Collection[str],
    ledger: Iterable[Mapping[str, Any]],
    now: datetime,
    copied: Collection[str] = (),
    forgotten: Mapping[str, str] | None = None,
    claimed: Collection[str] = (),
) -> Judgement:
    """Put snapshots and records together.

    ``records`` by snapshot id, for every snapshot that is tagged as a record. ``ledger`` entries have ``backup set
    manifest time snapshots{source: {id, tree}}``. ``copied``: backups whose sets are copied to this repository, where
    a snapshot with another original is one that a copy has not finished. ``forgotten``: snapshots that people agreed to
    give up, each with the sentence for it; what of such a set is still there counts for nothing. ``claimed``: what may have
    been, as far as this machine can tell: that such a one is not there is no finding, and nothing more.
    """
    forgotten = forgotten or {}
    by_id = {found.id: found for found in snapshots}
    replaced: dict[str, list[Snapshot]] = {}
    for one in snapshots:
        if one.original:
            replaced.setdefault(one.original, []).append(one)
    views: dict[tuple[str, str], SetView] = {}
    findings: list[Finding] = []
    named: set[str] = set()

    for snapshot_id, record in records.items():
        snapshot = by_id.get(snapshot_id)
        if snapshot is None or not _is_manifest(snapshot, record):
            continue
        view = _manifest_view(snapshot, record, by_id, replaced, trusted, repository_id, now)
        if snapshot_id in forgotten and view.state != FOREIGN:
            view = replace(view, state=PRUNED, reasons=(forgotten[snapshot_id],))
        named.add(snapshot_id)
        if view.state != FOREIGN:
            named.update(view.snapshots.values())
        key = (view.backup, view.id)
        known = views.get(key)
        # Where two manifests claim to be the same set, the better one stands and the other one is told of.
        lesser, better = (known, view) if known is None or _rank(view) > _rank(known) else (view, known)
        views[key] = better
        if lesser is not None:
            findings += _set_findings(lesser)

    strays: list[Snapshot] = []
    for snapshot in snapshots:
        if snapshot.id in named or snapshot.id in records:
            continue
        backup, set_id = snapshot.tag("backup"), snapshot.tag("set")
        if "opsctl" not in snapshot.tags or not backup or not set_id:
            strays.append(snapshot)
            continue
        source = snapshot.tag("source") or "?"
        found = views.get((backup, set_id))
        if snapshot.id in forgotten:
            if found is None or found.state == PRUNED:
                base = found or SetView(set_id, backup, PRUNED, _time_of(set_id) or snapshot.time, reasons=(forgotten[snapshot.id],))
                views[(backup, set_id)] = replace(base, snapshots={**base.snapshots, source: snapshot.id})
            continue
        if snapshot.original and backup not in copied:
            findings.append(_altered(snapshot, set_id))
        if snapshot.time > now + SKEW:
            findings.append(_ahead(snapshot, set_id, backup))
        if found is None:
            found = SetView(set_id, backup, INCOMPLETE, _time_of(set_id) or snapshot.time,
                            snapshots={source: snapshot.id},
                            reasons=("no manifest: the run did not finish, or part of it failed",))
        elif found.state == INCOMPLETE and found.manifest is None:
            found = replace(found, snapshots={**found.snapshots, source: snapshot.id})
        views[(backup, set_id)] = found

    findings += [_stray(snapshot, now) for snapshot in strays]
    ledger = [*ledger]
    _compare_with_ledger((entry for entry in ledger if not entry.get("pruned") and entry["manifest"] not in forgotten),
                         by_id, records, views, findings)
    explained = {*forgotten, *claimed, *(entry["manifest"] for entry in ledger if entry.get("pruned"))}
    _compare_with_chain(views, findings, explained)
    findings += [finding for view in views.values() for finding in _set_findings(view)]
    # Sets of one minute stay in the order of ``records``, which is the one in which they were stored.
    ordered = sorted(views.values(), key=_sort_time)
    return Judgement(tuple(ordered), tuple(_once(findings)))


def _is_manifest(snapshot: Snapshot, record: Record) -> bool:
    return record.format == MANIFEST or "manifest" in snapshot.tags


def _rank(view: SetView) -> int:
    return (PRUNED, FOREIGN, DAMAGED, INCOMPLETE, ALTERED, FUTURE, COPY, GOOD).index(view.state)


def _sort_time(view: SetView) -> float:
    return view.time.timestamp() if view.time else 0.0


def _manifest_view(
    snapshot: Snapshot,
    record: Record,
    by_id: Mapping[str, Snapshot],
    replaced: Mapping[str, Sequence[Snapshot]],
    trusted: Collection[str],
    repository_id: str,
    now: datetime,
) -> SetView:
    backup = record.record.get("backup") or snapshot.tag("backup") or "?"
    set_id = record.record.get("set") or snapshot.tag("set") or snapshot.id[:8]
    base = SetView(set_id, backup, DAMAGED, snapshot.time, snapshot.id, signer=record.signer)
    if record.problem or record.signer is None:
        return replace(base, reasons=(record.problem or "not signed",))
    try:
        time = parse_time(record.record["time"])
        entries = {name: (entry["snapshot"], entry["tree"]) for name, entry in record.record["sources"].items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return replace(base, reasons=("the manifest lacks fields",))
    base = replace(base, time=time, record=record.record,
                   snapshots={name: found for name, (found, _) in entries.items()})
    if record.signer not in trusted:
        why = f"signed by {record.signer}, a key that nobody here vouched for"
        return replace(base, state=FOREIGN, reasons=(why,))
    copy = record.record.get("repository") != repository_id
    if copy and not snapshot.original:
        return replace(base, state=FOREIGN, reasons=("its manifest was signed for another repository",))
    lost: list[str] = []
    altered: list[str] = []
    here = dict(base.snapshots)
    for name, (found, tree) in entries.items():
        rewritten = replaced.get(found, ())
        copies = [one.id for one in rewritten if copy and one.tree == tree]
        if copies:
            here[name] = copies[0]
        elif found in by_id and not copy:
            if by_id[found].tree != tree:
                altered.append(f"snapshot {found[:8]} of {name} holds another tree than was signed")
        elif rewritten:
            altered.append(f"snapshot {found[:8]} of {name} was rewritten as {rewritten[0].id[:8]}")
        else:
            lost.append(f"snapshot {found[:8]} of {name} is gone" if not copy
                        else f"the copy of snapshot {found[:8]} of {name} is gone, or was never finished")
    if snapshot.original and not copy:
        altered.append(f"the manifest's own snapshot {snapshot.id[:8]} was rewritten")
    base = replace(base, snapshots=here)
    if altered:
        return replace(base, state=ALTERED, reasons=tuple(altered + lost))
    if lost:
        return replace(base, state=DAMAGED, reasons=tuple(lost))
    if time > now + SKEW:
        return replace(base, state=FUTURE, reasons=("dated in the future",))
    return replace(base, state=COPY if copy else GOOD)


_BEGINNING = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)")


def _time_of(set_id: str) -> datetime | None:
    """The moment that the id of a set of ours begins with (``20261124-0230-7f3a``), UTC to the minute."""
    found = _BEGINNING.match(set_id)
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC) if found else None  # type: ignore[misc, arg-type]
    except ValueError:
        return None


def _altered(snapshot: Snapshot, set_id: str) -> Finding:
    return Finding(
        "snapshot-altered",
        f"snapshot {snapshot.id[:8]} is a rewritten form of {str(snapshot.original)[:8]}: files in it may be empty or gone",
        object=f"snapshots/{snapshot.id}", sets=(set_id,),
        repair="use another set; never take this one for a restore",
    )


def _ahead(snapshot: Snapshot, set_id: str, backup: str) -> Finding:
    return Finding(
        "snapshot-future",
        f"snapshot {snapshot.id[:8]}, dated {snapshot.time:%Y-%m-%d}, in the future, says that it is of set {set_id} of {backup}, which no "
        "manifest confirms",
        object=f"snapshots/{snapshot.id}", sets=(set_id,),
        repair="it is never used; was this machine's clock ahead? otherwise find out who wrote it",
    )


def _stray(snapshot: Snapshot, now: datetime) -> Finding:
    dated = f", dated {snapshot.time:%Y-%m-%d}, in the future" if snapshot.time > now + SKEW else ""
    what = "was recovered from deleted snapshots" if "recovered" in snapshot.tags else "was not made by opsctl"
    return Finding(
        "snapshot-future" if dated else "snapshot-foreign",
        f"snapshot {snapshot.id[:8]} ({snapshot.hostname}: {' '.join(snapshot.paths)}) {what}{dated}",
        object=f"snapshots/{snapshot.id}",
        repair="find out who wrote it; the owner of the store can remove it",
    )


def _compare_with_ledger(
    ledger: Iterable[Mapping[str, Any]],
    by_id: Mapping[str, Snapshot],
    records: Mapping[str, Record],
    views: dict[tuple[str, str], SetView],
    findings: list[Finding],
) -> None:
    for entry in ledger:
        key = (entry["backup"], entry["set"])
        trees = {name: found["tree"] for name, found in entry["snapshots"].items()}
        ids = {name: found["id"] for name, found in entry["snapshots"].items()}
        if entry["manifest"] in by_id and entry["manifest"] in records:
            continue
        standing = views.get(key)
        if standing is not None and standing.state in WHOLE and standing.snapshots == ids:
            continue  # the same signed words in another snapshot
        kept = sorted(name for name, found in ids.items() if found in by_id)
        message = (
            f"set {entry['set']} of {entry['backup']} was in this repository and its manifest is gone"
            if kept else f"set {entry['set']} of {entry['backup']} was in this repository and is gone"
        )
        time = parse_time(entry["time"])
        views[key] = SetView(entry["set"], entry["backup"], DELETED, time, entry["manifest"], snapshots=ids,
                             reasons=(message,))
        findings.append(Finding(
            "snapshot-deleted", message, object=f"snapshots/{entry['manifest']}", sets=(entry["set"],),
            repair="until someone prunes, `restic recover` brings deleted snapshots back; the trees are "
                   + ", ".join(f"{name} {tree[:8]}" for name, tree in sorted(trees.items())),
        ))


def _compare_with_chain(views: Mapping[tuple[str, str], SetView], findings: list[Finding], explained: Collection[str]) -> None:
    known = {(view.backup, view.manifest) for view in views.values()}
    whole = {(view.backup, view.id) for view in views.values() if view.state == GOOD}
    for view in views.values():
        before = view.record.get("previous") if view.state in (GOOD, FUTURE, ALTERED) else None
        if not before or before.get("manifest") in explained:
            continue
        if (view.backup, before.get("manifest")) not in known and (view.backup, before.get("set")) not in whole:
            findings.append(Finding(
                "snapshot-deleted",
                f"set {before.get('set')} of {view.backup}, which set {view.id} follows, is gone",
                object=f"snapshots/{before.get('manifest')}", sets=(str(before.get("set")),),
                repair="until someone prunes, `restic recover` brings deleted snapshots back",
            ))


def _set_findings(view: SetView) -> list[Finding]:
    kinds = {
        DAMAGED: "manifest-damaged" if not view.record else "snapshot-deleted",
        FOREIGN: "snapshot-foreign",
        ALTERED: "snapshot-altered",
        FUTURE: "snapshot-future",
    }
    if view.state not in kinds:
        return []
    repair = "use another set"
    if view.state == FOREIGN:
        repair = "if the key is one of yours, accept it with --trust; otherwise find out who wrote it"
    elif view.state == FUTURE:
        repair = "is this machine's clock right? If it is, use another set"
    elif view.state == DAMAGED and view.record:
        repair = "use another set; until someone prunes, `restic recover` brings deleted snapshots back"
    return [Finding(kinds[view.state], f"set {view.id} of {view.backup}: {'; '.join(view.reasons)}",
                    object=f"snapshots/{view.manifest}", sets=(view.id,), repair=repair)]


def _once(findings: Iterable[Finding]) -> list[Finding]:
    seen: dict[tuple[str, str | None, tuple[str, ...]], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.kind, finding.object, finding.sets), finding)
    return list(seen.values())
