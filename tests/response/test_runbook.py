"""`playbooks show NAME --pdf`: a runbook for the wall, in English and Hindi, with the command that answers each step."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from opsctl.engine.playbooks import find
from opsctl.engine.playbooks_table import responses
from opsctl.reports.runbook import as_html
from tests.machine import Machine


def text_of(path: Path) -> str:
    assert shutil.which("pdftotext"), "poppler-utils"
    said = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    return re.sub(r"\s+", " ", said)


def test_a_runbook_has_every_step_and_how_it_is_answered(machine: Machine, tmp_path: Path) -> None:
    pdf, page = tmp_path / "r.pdf", tmp_path / "r.html"
    said = machine("playbooks", "show", "ransomware", "--pdf", str(pdf), "--html", str(page), expect=0)
    assert f"wrote {pdf}" in said.out and f"wrote {page}" in said.out
    text = text_of(pdf)
    for number, step in enumerate(find("ransomware", None).steps, 1):
        assert f"{number}. {step.title}" in text and f"{number}. {step.title}" in page.read_text().replace("&#39;", "'")
    for line in ("opsctl report sent certin-initial-report --incident INCIDENT --channel HOW --by WHO", "opsctl incident paper INCIDENT auditor-certificate FILE",
                 "opsctl approve RUN agree --by NAME", "opsctl done RUN images --by NAME --note WHAT", "opsctl run ransomware --set zone=…", "at once"):
        assert line in text, line
    assert "${" not in text and "${" not in page.read_text() and "<script" not in page.read_text()


def test_a_runbook_in_hindi_has_its_letters(machine: Machine, tmp_path: Path) -> None:
    pdf = tmp_path / "r.pdf"
    machine("playbooks", "show", "ransomware", "--pdf", str(pdf), "--lang", "hi", expect=0)
    fonts = subprocess.run(["pdffonts", pdf], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    assert "Devanagari" in fonts
    assert re.search("[ऀ-ॿ]{2}", text_of(pdf))
    assert machine("playbooks", "show", "ransomware", "--pdf", str(pdf), "--lang", "fr", expect=2).err


@pytest.mark.parametrize("language", ["en", "hi"])
def test_every_response_has_a_page(language: str) -> None:
    for playbook in responses():
        page = as_html(playbook, language).decode()
        assert playbook.title.text(language) in page and page.count('class="step') == len(playbook.steps)


def test_nothing_is_written_in_a_dry_run_and_a_folder_that_is_not_there_is_told(machine: Machine, tmp_path: Path) -> None:
    assert "would write" in machine("--dry-run", "playbooks", "show", "ransomware", "--html", str(tmp_path / "x.html"), expect=0).out
    assert not (tmp_path / "x.html").exists()
    assert "No such file" in machine("playbooks", "show", "ransomware", "--html", str(tmp_path / "none" / "x.html"), expect=20).err


def test_text_of_a_playbook_is_shown_and_never_obeyed(machine: Machine, tmp_path: Path) -> None:
    (machine.etc / "playbooks" / "evil.yaml").write_text(
        "name: evil\ntitle: '<script>alert(1)</script> #sys.inputs'\nsteps:\n  - {id: a, uses: person, with: {say: '#read(\"/etc/passwd\") <b>x</b>'}}\n")
    machine("playbooks", "show", "evil", "--pdf", str(tmp_path / "e.pdf"), "--html", str(tmp_path / "e.html"), expect=0)
    assert "<script>" not in (tmp_path / "e.html").read_text() and '#read("/etc/passwd")' in text_of(tmp_path / "e.pdf")
