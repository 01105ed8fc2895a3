"""Sets judged from snapshots, records and ledger, by value."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsctl.model.records import MANIFEST, Record
from opsctl.model.sets import Judgement, judge
from opsctl.model.snapshots import Snapshot

NOW = datetime(2026, 12, 18, tzinfo=UTC)
OURS = "SHA256:ours"


def snapshot(name: str, set_id: str, *tags: str, days: float = 1, **more: Any) -> Snapshot:
    return Snapshot(id=name, time=NOW - timedelta(days=days), tree=f"tree-{name}", paths=("/data",), hostname="h",
                    tags=("opsctl", "backup=portal", f"set={set_id}", *tags), **more)


def manifest(set_id: str, *, days: float, previous: str | None = None, signer: str | None = OURS,
             problem: str | None = None, repository: str = "repo", **changes: Any) -> tuple[list[Snapshot], Record]:
    source, holder = f"s-{set_id}", f"m-{set_id}"
    record = {
        "format": MANIFEST, "backup": "portal", "set": set_id, "time": (NOW - timedelta(days=days)).isoformat(),
        "repository": repository, "sources": {"files": {"snapshot": source, "tree": f"tree-{source}", "bytes": 1}},
        "previous": {"set": previous, "manifest": f"m-{previous}"} if previous else None, **changes,
    }
    snapshots = [snapshot(source, set_id, "source=files", days=days), snapshot(holder, set_id, "manifest", days=days)]
    return snapshots, Record(holder, record, signer, problem)


def judged(*sets: tuple[list[Snapshot], Record], extra: tuple[Snapshot, ...] = (), without: tuple[str, ...] = (),
           ledger: list[dict[str, Any]] | None = None) -> Judgement:
    snapshots = [one for found, _ in sets for one in found] + list(extra)
    return judge(
        repository_id="repo", snapshots=[one for one in snapshots if one.id not in without],
        records={record.snapshot: record for _, record in sets if record.snapshot not in without},
        trusted={OURS}, ledger=ledger or [], now=NOW,
    )


def entry(set_id: str) -> dict[str, Any]:
    return {"backup": "portal", "set": set_id, "manifest": f"m-{set_id}", "time": NOW.isoformat(),
            "snapshots": {"files": {"id": f"s-{set_id}", "tree": f"tree-s-{set_id}"}}}


def states(found: Judgement) -> dict[str, str]:
    return {view.id: view.state for view in found.sets}


def kinds(found: Judgement) -> list[str]:
    return sorted(finding.kind for finding in found.findings)


def test_a_signed_set_with_all_its_snapshots_is_good() -> None:
    found = judged(manifest("1", days=6), manifest("2", days=3, previous="1"))
    assert states(found) == {"1": "good", "2": "good"}
    assert found.findings == ()
    newest = found.newest_good("portal")
    assert newest is not None and newest.id == "2"


def test_promise_2_a_set_without_its_manifest_is_incomplete_and_not_counted() -> None:
    found = judged(manifest("1", days=6), extra=(snapshot("x", "2", "source=files"),))
    assert states(found) == {"1": "good", "2": "incomplete"}
    newest = found.newest_good("portal")
    assert newest is not None and newest.id == "1"
    assert found.findings == (), "a run that did not finish is no damage"


@pytest.mark.parametrize(("changed", "state", "kind"), [
    ({"signer": "SHA256:theirs"}, "foreign", "snapshot-foreign"),
    ({"signer": None, "problem": "its signature does not hold"}, "damaged", "manifest-damaged"),
    ({"repository": "another"}, "foreign", "snapshot-foreign"),
    ({"days": -30}, "future", "snapshot-future"),
    ({"sources": {"files": {"snapshot": "s-1", "tree": "another"}}}, "altered", "snapshot-altered"),
    ({"sources": {"files": {"snapshot": "gone", "tree": "t"}}}, "damaged", "snapshot-deleted"),
    ({"sources": "nonsense"}, "damaged", "manifest-damaged"),
])
def test_what_is_wrong_with_a_set_is_named_and_it_is_not_counted(changed: dict[str, Any], state: str, kind: str) -> None:
    found = judged(manifest("1", **{"days": 1, **changed}))
    assert states(found)["1"] == state
    assert kind in kinds(found)
    assert found.newest_good("portal") is None


def test_a_snapshot_rewritten_by_repair_makes_its_set_altered() -> None:
    snapshots, record = manifest("1", days=1)
    rewritten = replace(snapshots[0], id="new", tree="emptied", original=snapshots[0].id)
    found = judged(([rewritten, snapshots[1]], record))
    assert states(found) == {"1": "altered"}


def test_the_ledger_shows_a_set_that_is_gone_without_a_trace() -> None:
    found = judged(manifest("2", days=3), ledger=[entry("1"), entry("2")])
    assert states(found) == {"1": "deleted", "2": "good"}
    assert kinds(found) == ["snapshot-deleted"]
    assert "tree-s-1"[:8] in str(found.findings[0].repair)


def test_the_chain_shows_a_gap_to_a_machine_without_a_ledger() -> None:
    found = judged(manifest("1", days=6), manifest("2", days=3, previous="1"), without=("s-1", "m-1"))
    assert [finding.sets for finding in found.findings] == [("1",)]


def test_snapshots_that_are_not_ours_are_named() -> None:
    stray = Snapshot("stray", datetime(2099, 1, 1, tzinfo=UTC), "t", ("/x",), "elsewhere")
    recovered = Snapshot("rec", NOW, "t", ("/recover",), "h", tags=("recovered",))
    assert kinds(judged(manifest("1", days=1), extra=(stray, recovered))) == ["snapshot-foreign", "snapshot-future"]


def test_of_two_manifests_of_one_set_the_good_one_stands_and_the_other_is_told_of() -> None:
    good, forged = manifest("1", days=1), manifest("1", days=1, signer="SHA256:theirs")
    other = replace(forged[1], snapshot="m-forged")
    found = judged(good, ([replace(forged[0][1], id="m-forged")], other))
    assert states(found) == {"1": "good"}
    assert kinds(found) == ["snapshot-foreign"]


def test_the_same_signed_words_in_another_snapshot_are_the_same_set() -> None:
    snapshots, record = manifest("1", days=6)
    moved = ([snapshots[0], replace(snapshots[1], id="m-again")], replace(record, snapshot="m-again"))
    found = judged(moved, manifest("2", days=3, previous="1"), ledger=[entry("1"), entry("2")])
    assert states(found) == {"1": "good", "2": "good"}
    assert found.findings == ()
