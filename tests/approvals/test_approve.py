"""What takes two people is done when two have signed for it with real keys, and never otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.cli import isolate_hosts
from tests.approvals.site import Site, spools
from tests.lab.waiting import until
from tests.machine import PACKAGE


def test_promise_9_nothing_goes_on_unapproved_by_two(site: Site) -> None:
    run = site.begin()
    assert site.diary == ["before"]
    asked = site.json("resume", run, expect=4).errors[0]["message"]
    assert "the doors may be opened: 2 people with the role restore-officer have to approve, by" in asked
    assert f"`opsctl approve {run} agree --by NAME`" in asked
    site("--yes", "resume", run, expect=4)
    assert "may approve: asha, imran, ravi (for asha)" in site("approve", run, "agree", expect=4).out
    site("approve", run, "agree", "--by", "asha", "--key", str(site.keys / "asha"), expect=4)
    site.approve(run, "asha")
    assert "asha approved; 1 more person" in site.json("resume", run, expect=4).errors[0]["message"]
    assert site.diary == ["before"]
    shown = site("--yes", "approve", run, "agree", "--by", "imran", "--key", str(site.keys / "imran"), "--note", "seen", expect=0)
    assert f"echo opened >> {site.root}/diary" in shown.err and "until 2026-12-1" in shown.err
    assert f"2 of 2 approved; go on with: opsctl resume {run}" in shown.out
    site("resume", run, expect=0)
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]
    site("journal", "verify", expect=0)


def test_what_is_decided_stands_in_the_first_ten_lines_and_again_where_the_question_comes(site: Site) -> None:
    steps = "".join(f"  - {{id: step-{number}, uses: command, with: {{argv: [echo, deep-{number}]}}}}\n" for number in range(30))
    site.write_playbook(between=steps)
    run = site.begin("--set", "incident=I-1")
    shown = site("--yes", "approve", run, "agree", "--by", "imran", "--key", str(site.keys / "imran"), "--note", "seen", expect=0).err.splitlines()
    first = "\n".join(shown[:10])
    for told in ("what        the doors may be opened", "decision    approve, note: seen", "as          imran", "until 2026-12-1", "incident    I-1", run,
                 "step        agree", "step-0, step-1", "and 25 more"):
        assert told in first, first
    assert "deep-0" not in first and all(f"deep-{number}" in "\n".join(shown[10:]) for number in range(30))
    [again] = [line for line in shown if "imran decides: approve, note: seen: the doors may be opened" in line]
    assert shown.index(again) > max(number for number, line in enumerate(shown) if "deep-29" in line)


def test_promise_3_one_person_is_never_two(site: Site) -> None:
    run = site.begin()
    site.approve(run, "asha")
    assert "one person counts once" in site.approve(run, "asha", expect=23).errors[0]["message"]
    assert "count as one" in site.approve(run, "ravi", expect=23).errors[0]["message"]
    site("resume", run, expect=4)
    site.approve(run, "imran")
    site("resume", run, expect=0)


def test_one_key_under_two_names_is_one(site: Site) -> None:
    site.write_people(imran="asha")
    run = site.begin()
    site.approve(run, "asha")
    assert "signed with the key of asha" in site.approve(run, "imran", key="asha", expect=23).errors[0]["message"]


def test_who_may_not_sign_is_named_and_nothing_is_recorded(site: Site) -> None:
    run = site.begin()
    for by, key, code, why in (("usha", "usha", 23, "has not the role restore-officer"), ("asha", "imran", 12, "not the one of asha"),
                               ("asha", "stranger", 12, "not the one of asha"), ("nobody", "stranger", 2, "there is no person 'nobody'")):
        assert why in site.approve(run, by, key=key, expect=code).errors[0]["message"]
    assert not list(site.journal("approve.signed"))
    site("approve", run, "act", "--by", "asha", expect=2)
    assert f"opsctl approve {run} agree" in site("done", run, "agree", "--by", "asha", expect=2).err
    site("approve", run, expect=2)
    site("approve", "20261212-0000-none-0000", "agree", expect=2)


def test_one_refusal_closes_the_gate_until_it_is_withdrawn(site: Site) -> None:
    run = site.begin()
    site.approve(run, "imran")
    site.approve(run, "ravi", "--refuse", "--note", "the scan is not over")
    said = site.json("resume", run, expect=23).errors[0]
    assert "ravi (for asha) refused: the scan is not over" in said["message"]
    assert site.json("approve", run, "agree", expect=23).result["refused"] == ["ravi"]
    site.approve(run, "asha")
    site("resume", run, expect=23)
    assert site.diary == ["before"]
    site.at("2026-12-12T02:40:00+05:30")
    site.json("--yes", "approve", run, "agree", "--by", "ravi", "--key", str(site.keys / "ravi"), expect=23)  # adds nothing to asha's
    site("resume", run, expect=23)


def test_a_refusal_is_withdrawn_by_approving(site: Site) -> None:
    run = site.begin()
    site.approve(run, "imran", "--refuse")
    site("resume", run, expect=23)
    site.at("2026-12-12T02:40:00+05:30")
    for name in ("imran", "asha"):
        site.approve(run, name)
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]


def test_a_refusal_that_a_clock_dates_before_the_approval_is_not_told_as_one(site: Site) -> None:
    run = site.begin()
    site.at("2026-12-12T02:38:00+05:30")
    site.approve(run, "imran")
    site.at("2026-12-12T02:33:00+05:30")
    assert "is not older than this" in site.approve(run, "imran", "--refuse", expect=23).errors[0]["message"]
    site.at("2026-12-12T02:39:00+05:30")
    assert site.approve(run, "imran", "--refuse").result["refused"] == ["imran"]


def test_a_signature_grows_old_and_is_given_anew(site: Site) -> None:
    run = site.begin()
    site.approve(run, "asha")
    site.at("2026-12-13T02:31:00+05:30")
    site.approve(run, "imran")
    said = site.json("resume", run, expect=4).errors[0]["message"]
    assert "not counted: asha: the signature is old" in said and "imran approved; 1 more person" in said
    site.approve(run, "asha")
    site("resume", run, expect=0)


def test_what_was_approved_and_not_begun_has_to_be_approved_anew_after_its_term(site: Site) -> None:
    slow = site.root / "slow"
    site.write_playbook(between=f"  - {{id: wait, uses: person, with: {{say: wait}}, after: [agree]}}\n# {slow}\n")
    run = site.begin()
    for name in ("asha", "imran"):
        site.approve(run, name)
    assert "wait" in site.json("resume", run, expect=4).errors[0]["where"]
    site.at("2026-12-14T02:30:00+05:30")
    assert site.json("resume", run, expect=4).errors[0]["where"] == "agree"
    assert site.diary == ["before"]


def test_a_changed_plan_voids_every_signature(site: Site) -> None:
    run = site.begin()
    site.approve(run, "asha")
    path = site.state / "runs" / run / "plan.json"
    whole = path.read_text()
    path.write_text(whole.replace("echo opened", "echo robbed"))
    for said in (site.json("resume", run, expect=23), site.approve(run, "imran", expect=23)):
        assert f"the plan of run {run} was changed since it was bound" in said.errors[0]["message"]
    path.write_text(whole)
    site.approve(run, "imran")
    path.write_text(whole.replace("echo opened", "echo robbed"))
    site("resume", run, expect=23)
    assert site.diary == ["before"]
    path.write_text(whole)
    site("resume", run, expect=0)


def test_a_signature_of_another_run_says_nothing_of_this_one(site: Site) -> None:
    first, second = site.begin(), site.begin()
    for name in ("asha", "imran"):
        site.approve(first, name)
    for entry in list(site.journal("approve.signed", first)):
        site.forge(second, "approve.signed", entry)
    said = site.json("resume", second, expect=4).errors[0]["message"]
    assert f"signed for step agree of run {first}" in said
    edited = {**entry, "statement": {**entry["statement"], "run": second}}
    site.forge(second, "approve.signed", edited)
    assert "was signed by nobody who may" in site.json("resume", second, expect=12).errors[0]["message"]
    assert site.diary == ["before", "before"]


def test_who_started_the_run_does_not_count_where_the_step_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write_playbook(", not_starter: true")
    monkeypatch.setattr(isolate_hosts, "person", lambda: "asha")
    run = site.begin()
    assert "started this run" in site.approve(run, "asha", expect=23).errors[0]["message"]
    site.approve(run, "imran")
    site.approve(run, "ravi")  # who stands in for asha is somebody else
    site("resume", run, expect=0)
    # where it is nobody of `people` it may have been any of them
    monkeypatch.setattr(isolate_hosts, "person", lambda: "root")
    assert "3 people" in site.json("resume", site.begin(), expect=4).errors[0]["message"]


@pytest.fixture
def agent(site: Site, tmp_path: Path) -> Iterator[Path]:
    """An ssh-agent that alone has asha's private key; gives the public one's file."""
    socket, place = tmp_path / "agent", tmp_path / "asha"
    shutil.copy(site.keys / "asha", place)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until(socket.exists, "the agent's socket")
        subprocess.run(["ssh-add", "-q", str(place)], check=True, env={"SSH_AUTH_SOCK": str(socket), "PATH": "/usr/bin:/bin"},
                       stdin=subprocess.DEVNULL, capture_output=True)
        place.unlink()
        shutil.copy(site.keys / "asha.pub", place.with_suffix(".pub"))
        site.environ["SSH_AUTH_SOCK"] = str(socket)
        yield place.with_suffix(".pub")
    finally:
        process.kill()
        process.wait()


def test_an_agent_signs(site: Site, agent: Path) -> None:
    run = site.begin()
    said = site.json("--yes", "approve", run, "agree", "--by", "asha", "--key", str(agent), expect=0)
    assert said.result["approved"] == ["asha"]


def test_a_run_that_is_killed_while_it_waits_or_acts_goes_on_with_what_was_signed(site: Site) -> None:
    hold = site.root / "hold"
    site.write_playbook(act=f"touch {hold}; sleep 600")
    run = site.begin()
    site.approve(run, "asha")
    site.approve(run, "imran")
    with site.start("resume", run, start_new_session=True) as process:
        until(hold.exists, "the step behind the gate")
        site.kill_all(process)
        process.communicate()
    # whether it happened nobody knows: that is asked, and not the approval, also when that has grown old
    site.at("2026-12-15T02:30:00+05:30")
    said = site.json("resume", run, expect=4)
    assert [one["where"] for one in said.errors] == ["act"]


def carry(site: Site, run: str, place: Path) -> Path:
    site("approve", run, "agree", "--out", str(place), expect=0)
    return place


class Elsewhere(Site):
    """A machine with the people's keys and no configuration."""

    def __init__(self, root: Path, keys: Path) -> None:
        self.keys = keys
        super(Site, self).__init__(root)

    def sign(self, file: Path, by: str, *more: str, key: str | None = None, expect: int = 0) -> Any:
        return self("--yes", "approve", "--file", str(file), "--by", by, "--key", str(self.keys / (key or by)), *more, expect=expect)


def test_a_request_is_carried_to_a_machine_without_a_configuration_and_back(site: Site, tmp_path: Path) -> None:
    run = site.begin("--set", "incident=I-1")
    there = Elsewhere(tmp_path / "there", site.keys)
    file = carry(site, run, tmp_path / "request.json")
    site("approve", run, "agree", "--out", str(file), expect=2)
    shown = there.sign(file, "asha")
    assert f"echo opened >> {site.root}/diary" in shown.err and "incident    I-1" in shown.err and run in shown.err
    there("approve", "--file", str(file), expect=10)
    there.sign(file, "imran", "--note", "by telephone")
    site("approve", "--file", str(file), run, expect=2)
    assert site("--dry-run", "approve", "--file", str(file), expect=0) and not list(site.journal("approve.signed"))
    back = site.json("approve", "--file", str(file), expect=0).result
    assert back["approved"] == ["asha", "imran"] and back["recorded"] == 2
    assert "was recorded before" in site("approve", "--file", str(file), expect=0).out
    site("resume", run, expect=0)
    assert site.diary == ["before", "opened"]
    assert sorted(path.name for path in (tmp_path / "there").rglob("*") if path.is_file()) == []


def test_what_was_changed_on_the_way_is_refused_there_and_here(site: Site, tmp_path: Path) -> None:
    run = site.begin()
    there = Elsewhere(tmp_path / "there", site.keys)
    file = carry(site, run, tmp_path / "request.json")
    whole = json.loads(file.read_text())

    def changed(**more: Any) -> None:
        file.write_text(json.dumps({**whole, **more}))

    changed(plan=json.loads(json.dumps(whole["plan"]).replace("echo opened", "echo robbed")))
    assert "is not the one that would be signed" in there.sign(file, "asha", expect=22).err
    for broken in ({"plan": []}, {"request": {}}, {"signatures": [1]}, {"format": ""}, {"plan": {**whole["plan"], "steps": [{"id": 1}]}}):
        changed(**broken)
        there.sign(file, "asha", expect=22)
        site("approve", "--file", str(file), expect=22)
    file.write_text("[" * 100_000)
    there.sign(file, "asha", expect=22)
    # another request's number, signed by the right people, is none of ours
    changed(request={**whole["request"], "nonce": "0" * 32})
    there.sign(file, "asha")
    assert "another request" in site.json("approve", "--file", str(file), expect=23).errors[0]["message"]
    # what is shown is another incident's or repository's
    changed(request={**whole["request"], "incident": "I-9"})
    there.sign(file, "asha")
    assert "signed for incident I-9" in site.json("approve", "--file", str(file), expect=23).errors[0]["message"]
    # one who may, one who may not, and one in another's name
    changed()
    there.sign(file, "asha")
    there.sign(file, "usha")
    there.sign(file, "imran", key="stranger")
    said = site.json("approve", "--file", str(file), expect=23)
    assert [error["code"] for error in said.errors] == [23, 12] and said.result["approved"] == ["asha"]
    # one that came late
    there.sign(file, "imran")
    site.at("2026-12-13T02:31:00+05:30")
    assert any("the signature is old" in error["message"] for error in site.json("approve", "--file", str(file), expect=23).errors)


def test_a_run_in_the_spool_is_approved_with_carried_files(site: Site, tmp_path: Path) -> None:
    site.state.parent.joinpath("state").write_text("not a directory")
    run = str(site.json("--break-glass", "run", "open", expect=4).document["run"])
    there = Elsewhere(tmp_path / "there", site.keys)
    file = tmp_path / "request.json"
    site("--break-glass", "approve", run, "agree", "--out", str(file), expect=0)
    for name in ("asha", "imran"):
        there.sign(file, name)
    site("--break-glass", "approve", "--file", str(file), expect=0)
    site("--break-glass", "resume", run, expect=0)
    assert site.diary == ["before", "opened"]


def test_at_a_terminal_the_run_waits_and_goes_on_by_itself(site: Site) -> None:
    parent, child = os.openpty()
    env = {**os.environ, **site.environ, "PYTHONPATH": str(PACKAGE)}
    with subprocess.Popen([sys.executable, "-m", "opsctl", "--config", str(site.etc), "run", "open"], env=env, stdin=child,
                          stdout=subprocess.PIPE, stderr=child, text=True) as process:
        try:
            until(lambda: [entry for entry in site.journal("step.end") if entry["outcome"] == "waiting"], "the gate")
            (run,) = (path.name for path in (site.state / "runs").iterdir())
            for by in ("asha", "imran"):
                site.approve(run, by)
            until(lambda: process.poll() is not None, "the end of the run")
        finally:
            process.kill()
            os.close(child)
            os.close(parent)
    assert process.returncode == 0 and site.diary == ["before", "opened"]
    assert site.json("show", run).result["state"] == "ended"


def test_what_was_signed_in_the_spool_counts_after_it_was_adopted(site: Site) -> None:
    """The journal cannot be read, the plan can: it is asked for again there, and that is what counts when both are together."""
    run = site.begin()
    site.approve(run, "asha")
    journal, aside = site.state / "journal", site.root / "aside"
    journal.rename(aside)
    journal.write_text("scrambled")
    assert "2 people" in site.json("--break-glass", "resume", run, expect=4).errors[0]["message"]
    for by in ("asha", "usha"):
        site("--break-glass", "--yes", "approve", run, "agree", "--by", by, "--key", str(site.keys / by), expect=23 if by == "usha" else 0)
    site("--break-glass", "--yes", "approve", run, "agree", "--by", "imran", "--key", str(site.keys / "imran"), expect=0)
    journal.unlink()
    aside.rename(journal)
    (spool,) = spools(site)
    site("journal", "adopt", str(spool / "journal" / "000001.jsonl"), "--by", "asha", "--key", str(site.keys / "asha"), expect=0)
    assert site.json("approve", run, "agree", expect=0).result["approved"] == ["asha", "imran"]
    site("resume", run, expect=0)
    assert site.diary.count("opened") == 1


def test_who_is_not_there_is_told_before_anything_is_shown_and_times_are_those_of_the_organisation(site: Site) -> None:
    site.write_people(more="organisation: {name: O, timezone: Asia/Kolkata}\n")
    run = site.begin()
    said = site("--yes", "approve", run, "agree", "--by", "asah", "--key", str(site.keys / "asha"), expect=2)
    assert "there is no person 'asah'" in said.err and "it opens" not in said.err
    shown = site("--dry-run", "approve", run, "agree", "--by", "asha", "--key", str(site.keys / "asha"), expect=0).err
    assert "at 2026-12-12 02:30 IST" in shown and "it holds until 2026-12-13 02:30 IST" in shown and "T02:30" not in shown
    site.approve(run, "asha")
    assert "approved by asha at 2026-12-12 02:30 IST, until 2026-12-13 02:30 IST" in site("approve", run, "agree", expect=4).out
