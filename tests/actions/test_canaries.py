"""Canaries: planted, watched, and never put over what is there; with real restic."""

from __future__ import annotations

import zipfile

from opsctl.model.canaries import content
from tests.machine import Machine


def test_a_canary_that_changed_or_went_makes_a_set_suspect_by_itself(machine: Machine) -> None:
    first, last = machine.data / "0000-register.docx", machine.data / "zz-archive.pdf"
    file = machine.etc / "opsctl.yaml"
    file.write_text(file.read_text().replace(f"paths: [{machine.data}]", f"paths: [{machine.data}], canaries: [{first}, {last}]"))
    (machine.data / "bill").write_text("12.50 to pay\n" * 20)

    def verdict(day: int) -> tuple[str, str]:
        machine.at(f"2026-12-{day:02}T02:30:00+05:30")
        seen = machine.json("backup", "run", expect=0).result["backups"]["portal"]["signals"]
        return seen["verdict"], str(seen["reasons"])

    assert verdict(1)[0] == "unknown"
    assert "would plant" in machine("--dry-run", "backup", "canaries", "--write", expect=0).out and not first.exists()
    machine("backup", "canaries", "--write", expect=4)
    last.write_text("not ours")
    machine("--yes", "backup", "canaries", "--write", expect=23)
    assert last.read_text() == "not ours" and not first.exists()
    last.unlink()
    machine("--yes", "backup", "canaries", "--write", expect=0)
    assert machine("--yes", "backup", "canaries", "--write", expect=0).out.count("there") == 2
    assert zipfile.ZipFile(first).testzip() is None and last.read_bytes() == content("files", str(last))
    assert verdict(4)[0] == "clean"
    assert verdict(7)[0] == "clean"
    first.write_bytes(first.read_bytes()[:-1] + b"!")
    assert verdict(10) == ("suspect", f"['files: the canary {first}, which nobody has to touch, is not as it was planted']")
    last.unlink()
    assert f"{last}, which nobody has to touch, is gone" in verdict(13)[1]
    assert verdict(16)[0] == "suspect", "as long as nobody puts it right"
    assert machine.json("backup", "canaries", expect=0).result["sources"]["files"] == {str(first): "other", str(last): "absent"}
