"""kill -9 at every boundary of an approval: what was asked and signed stands, nothing is asked twice, nothing opens early."""

from __future__ import annotations

import pytest

from tests.approvals.site import Site


def only_run(site: Site) -> str:
    (found,) = (site.state / "runs").iterdir()
    return found.name


@pytest.mark.parametrize("line", ["people.accepted", "approve.asked", "run.waiting"])
def test_a_run_that_is_killed_while_it_asks_asks_for_the_same(site: Site, line: str) -> None:
    site.die_after(line, "run", "open")
    run = only_run(site)
    site("resume", run, expect=4)
    assert len(list(site.journal("approve.asked"))) == len(list(site.journal("people.accepted"))) == 1
    for by in ("asha", "imran"):
        site.approve(run, by)
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]
    site("journal", "verify", expect=0)


def test_what_was_signed_by_a_call_that_was_killed_counts_once(site: Site) -> None:
    run = site.begin()
    site.die_after("approve.signed", "--yes", "approve", run, "agree", "--by", "asha", "--key", str(site.keys / "asha"))
    site.approve(run, "asha", expect=23)
    assert site.json("resume", run, expect=4).errors[0]["message"].count("asha approved; 1 more person")
    site.approve(run, "imran")
    # killed between the gate and what it opens: nothing is lost, and nothing happens twice
    site.die_after("step.end", "resume", run)
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]


def test_a_carried_file_is_recorded_to_its_end_after_a_kill(site: Site) -> None:
    run = site.begin()
    file = site.root / "request.json"
    site("approve", run, "agree", "--out", str(file), expect=0)
    for by in ("asha", "imran"):
        site("--yes", "approve", "--file", str(file), "--by", by, "--key", str(site.keys / by), expect=0)
    site.die_after("approve.signed", "approve", "--file", str(file))
    assert site.json("approve", "--file", str(file), expect=0).result["approved"] == ["asha", "imran"]
    site("resume", run, expect=0)


def test_a_change_of_the_people_is_whole_after_a_kill(site: Site) -> None:
    run = site.begin()
    site.write_people(imran="stranger")
    site("people", "change", expect=4)
    for by in ("asha", "usha"):
        site.json("--yes", "people", "change", "--by", by, "--key", str(site.keys / by), expect=0)
    site.die_after("people.accepted", "people", "change")
    site("people", "list", expect=0)
    site("people", "change", expect=0)
    site.approve(run, "imran", key="stranger")
    assert not (site.state / "people-change.json").exists()


def test_a_playbook_is_signed_or_not_after_a_kill(site: Site) -> None:
    site.die_after("playbook.signed", "--yes", "playbooks", "sign", "open", "--by", "asha", "--key", str(site.keys / "asha"))
    assert not (site.etc / "playbooks" / "open.signatures.json").exists()
    site.json("--yes", "playbooks", "sign", "open", "--by", "asha", "--key", str(site.keys / "asha"), expect=0)
    site.begin()
