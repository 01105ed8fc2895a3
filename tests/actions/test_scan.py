"""scan: by the command line, over a folder that a set was restored into."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsctl.actions.accepting import written
from tests.approvals.site import make_keys, people_of
from tests.machine import Machine
from tests.scanning.samples import EICAR, SAMPLES


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


def restored(machine: Machine, tmp_path: Path) -> tuple[str, Path]:
    set_id = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    return set_id, tmp_path / "back"


def test_a_finding_names_set_file_and_rule_and_goes_when_the_file_goes(machine: Machine, tmp_path: Path) -> None:
    (machine.data / "bill.pdf").write_bytes(b"%PDF-1.4 a bill")
    (machine.data / "up.php").write_bytes(next(content for rule, name, content in SAMPLES if name == "up.php"))
    set_id, back = restored(machine, tmp_path)
    said = machine.json("restore", "scan", str(back), expect=22)
    error, = said.errors
    assert set_id in error["message"] and "up.php: rule webshell_php_runs_input" in error["message"]
    assert error["details"]["finding"] in error["message"] and error["details"]["set"] == set_id
    found = said.result["steps"][0]["result"]
    assert (found["set"], found["backup"], found["files"]) == (set_id, "portal", 3)
    assert "finding " + error["details"]["finding"] in machine("restore", "scan", str(back), expect=22).err
    Path(back, error["details"]["path"]).unlink()
    assert "2 files" in machine("restore", "scan", str(back), expect=0).out


def test_what_was_not_scanned_is_no_clean_scan(machine: Machine, tmp_path: Path) -> None:
    (machine.data / "dump").write_bytes(b"x" * 5000)
    machine.configure(more="scan: {largest: 4KiB}")
    _, back = restored(machine, tmp_path)
    said = machine.json("restore", "scan", str(back), "--source", "files", expect=3)
    assert "was not scanned: 5000 bytes" in said.errors[0]["message"]
    assert machine.json("restore", "scan", str(back), expect=3).result["steps"][0]["result"]["not_scanned"][0]["sha256"]


def test_thousands_of_findings_are_told_by_number(machine: Machine, tmp_path: Path) -> None:
    for number in range(1100):
        (tmp_path / f"{number:04}").write_bytes(EICAR)
    said = machine.json("restore", "scan", str(tmp_path), expect=22)
    assert len(said.errors) == 51 and "1,050 more findings" in said.errors[-1]["message"]
    assert len(said.result["steps"][0]["result"]["findings"]) == 1000 and said.result["steps"][0]["result"]["more"] == 100


def test_rules_of_the_site_that_are_wrong_are_a_mistake_of_the_configuration(machine: Machine, tmp_path: Path) -> None:
    machine.configure(more="scan: {rules: rules}")
    machine("restore", "scan", str(tmp_path), expect=10)
    rules = machine.etc / "rules"
    rules.mkdir()
    (rules / "own.yar").write_text("rule own {\n condition: $nothing }\n")
    said = machine.json("restore", "scan", str(machine.data), expect=10)
    assert f"{rules}/own.yar:2: unknown pattern" in said.errors[0]["details"]["problems"][0]
    (rules / "own.yar").write_text('rule own { condition: filename == "bill.pdf" }\n')
    (machine.data / "bill.pdf").touch()
    assert "rule own" in machine.json("restore", "scan", str(machine.data), expect=22).errors[0]["message"]
    machine("restore", "scan", str(tmp_path / "nowhere"), expect=2)
    machine("restore", "scan", str(machine.data), "--source", "nothing", expect=2)


def approve(machine: Machine, keys: Path, run: str, by: str, *more: str, key: str | None = None, expect: int = 0) -> None:
    machine("--yes", "approve", run, "accept", "--by", by, "--key", str(keys / (key or by)), *more, expect=expect)


def test_two_people_accept_exactly_one_finding_of_one_set(machine: Machine, tmp_path: Path, keys: Path) -> None:
    machine.configure(more=people_of(keys))
    (machine.data / "mail.mbox").write_bytes(b"From: a scanner's test\n\n" + EICAR)
    (machine.data / "up.php").write_bytes(next(content for rule, name, content in SAMPLES if name == "up.php"))
    _, back = restored(machine, tmp_path)
    said = machine.json("restore", "scan", str(back), expect=22)
    run = said.document["run"]
    mail = next(one["details"] for one in said.errors if one["details"]["rule"] == "eicar_test_file")
    machine("restore", "accept", run, "0123456789abcdef", "--reason", "it is nothing", expect=2)
    machine("restore", "accept", run, mail["finding"], "--reason", " ", expect=2)
    asked = machine.json("restore", "accept", run, mail["finding"], "--reason", "a test mail, looked at", expect=4)
    assert f"eicar_test_file {mail['sha256']} {mail['path']}" in asked.errors[0]["message"]
    accepting = asked.document["run"]

    def left() -> tuple[list[str], list[str]]:
        found = machine.json("restore", "scan", str(back), expect=22)
        return [one["details"]["rule"] for one in found.errors], found.result["steps"][0]["result"]["not_counted"]

    both = ["eicar_test_file", "webshell_php_runs_input"]
    approve(machine, keys, accepting, "asha")
    rules, why = left()
    assert sorted(rules) == both and why == [f"run {accepting}: 1 more would have to approve"]
    approve(machine, keys, accepting, "asha", expect=23)
    approve(machine, keys, accepting, "imran", key="stranger", expect=12)
    assert sorted(left()[0]) == both
    approve(machine, keys, accepting, "imran")
    assert left() == (["webshell_php_runs_input"], [])
    machine.at("2026-12-20T02:30:00+05:30")
    assert left()[0] == ["webshell_php_runs_input"], "what they accepted together stays accepted"

    file = Path(back, mail["path"])
    content = file.read_bytes()
    file.write_bytes(content + b"\n")
    assert sorted(left()[0]) == both, "another content"
    file.write_bytes(content)
    file.rename(file.with_name("other.mbox"))
    assert sorted(left()[0]) == both, "another file"
    file.with_name("other.mbox").rename(file)
    Path(back, "files", *machine.data.parts[1:], "up.php").unlink()
    done = machine("restore", "scan", str(back), expect=0)
    assert f"finding {mail['finding']}, accepted in run {accepting}" in done.out

    machine("backup", "run", expect=0)
    newer = tmp_path / "newer"
    machine("restore", "set", "portal", "--into", str(newer), expect=0)
    assert sorted(one["details"]["rule"] for one in machine.json("restore", "scan", str(newer), expect=22).errors) == both, "another set"


def test_what_nobody_signed_or_was_not_shown_accepts_nothing(machine: Machine, tmp_path: Path, keys: Path) -> None:
    machine.configure(more=people_of(keys))
    (machine.data / "mail.mbox").write_bytes(EICAR)
    set_id, back = restored(machine, tmp_path)
    found = machine.json("restore", "scan", str(back), expect=22).result["steps"][0]["result"]["findings"][0]
    text = written(found)
    own = machine.etc / "playbooks"
    own.mkdir()

    def why(say: str, reason: str, findings: str) -> str:
        (own / "accept-finding.yaml").write_text(f"""
name: accept-finding
title: {{en: Lunch, hi: भोजन}}
inputs: {{backup: {{type: string, help: x}}, set: {{type: set, help: x}}, findings: {{type: list, help: x}}, reason: {{type: string, help: x}}}}
steps:
  - {{id: accept, uses: approve, with: {{people: 1, say: "{say}"}}}}
""")
        run = machine.json("run", "accept-finding", "--set", "backup=portal", "--set", f"set={set_id}", "--set", f"findings={findings}",
                           "--set", f"reason={reason}", expect=4).document["run"]
        approve(machine, keys, run, "asha")
        told = machine.json("restore", "scan", str(back), expect=22).result["steps"][0]["result"]["not_counted"]
        return next((one.partition(": ")[2] for one in told if run in one), "nothing of it")

    assert why("it: ${findings}", "because", text) == "1 more would have to approve"
    assert why("lunch is at one", "because", text) == "who signed was not shown what for"
    assert why("it: ${findings}", " ", text) == "it says no reason"
    other = text.replace("eicar_test_file", "another_rule")
    assert why("it: ${findings}", "because", other) == "nothing of it", "words that do not make the id"
