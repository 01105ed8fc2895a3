"""scan: by the command line, over a folder that a set was restored into."""

from __future__ import annotations

from pathlib import Path

from tests.machine import Machine
from tests.scanning.samples import EICAR, SAMPLES


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
