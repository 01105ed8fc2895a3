"""Sets that nothing asks for go when two people agreed, on the store's side; whatever speaks against it is a reason."""

from __future__ import annotations

from tests.machine import tree
from tests.retention.people import Shared


def planned(machine: Shared, *words: str, expect: int = 4) -> tuple[str, dict[str, object]]:
    """Plan a prune: the run that waits for approval, and what it would do."""
    said = machine.json("backup", "prune", "portal", *words, expect=expect)
    return str(said.document.get("run")), said.result


def ids(machine: Shared) -> dict[str, set[str]]:
    """The snapshots of each set, its manifest among them."""
    found: dict[str, set[str]] = {}
    for one in machine.snapshots():
        for tag in one.get("tags", ()):
            if tag.startswith("set="):
                found.setdefault(tag.removeprefix("set="), set()).add(one["id"])
    return found


def test_promise_3_what_nothing_asks_for_goes_when_two_people_agreed(filled: Shared) -> None:
    before = ids(filled)
    first, second, third, fourth = sorted(before)
    size = sum(len(content) for content in tree(filled.store).values())
    said = filled("--dry-run", "backup", "prune", "portal", expect=0)
    assert f"{fourth}  stays    daily 1, drilled" in said.out and f"{third}  stays    daily 2" in said.out
    assert f"{first}  goes" in said.out and f"{second}  goes" in said.out
    run, _ = planned(filled)
    filled("resume", run, expect=4)
    filled.approve(run, "asha")
    filled("resume", run, expect=4)
    assert ids(filled) == before
    filled.approve(run, "imran")
    done = filled("resume", run, expect=0)
    assert "portal: 2 sets given up in main" in done.out and "2 sets stay" in done.out
    assert ids(filled) == {third: before[third], fourth: before[fourth]}
    assert sum(len(content) for content in tree(filled.store).values()) < size
    filled("resume", run, expect=0)
    assert filled.states() == {third: "good", fourth: "good"}
    for level in ("quick", "data"):
        filled("verify", "--level", level, expect=0)
    assert planned(filled, expect=0)[1]["goes"] == []
    assert filled.json("status", "--refresh", expect=0).result["backups"]["portal"]["state"] == "ok"
    filled.restic("check", "--read-data")
