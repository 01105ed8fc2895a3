"""Addresses, numbers and deadlines of the law stand in the protocol's data, and nowhere else in the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import opsctl
from opsctl.protocols.cert_in import protocol
from tests.reports.test_drafting import normal, texts

PACKAGE = Path(opsctl.__file__).parent
DATA = PACKAGE / "protocols" / "cert_in.yaml"
SHOWN = sorted(path for ending in ("py", "yaml", "html", "typ", "txt") for path in PACKAGE.rglob(f"*.{ending}") if path != DATA)
PLAYBOOKS = sorted((PACKAGE.parent / "playbooks").glob("*.yaml"))
CONTACTS = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+in\b|https?://(?![\w.-]*example)[\w.-]+\.in\b\S*|1800-\d\d-\d{4}|\+91-\d\d-\d{8}")
FIGURES = re.compile(r"\b(\d+) (hours|days|घंटे|दिन)\b")


def test_no_contact_of_an_authority_is_written_into_the_program() -> None:
    assert CONTACTS.search(DATA.read_text()), "it finds them where they are"
    assert {str(path): found for path in SHOWN if (found := CONTACTS.findall(path.read_text()))} == {}


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_contacts_and_deadlines_that_a_playbook_names_stand_in_the_protocol(path: Path) -> None:
    known = " ".join(normal(one) for one in texts(protocol().raw))
    text = path.read_text()
    assert [found for found in CONTACTS.findall(text) if normal(found) not in known] == []
    hours = {f"{number} {'hours' if unit in ('hours', 'घंटे') else 'days'}" for number, unit in FIGURES.findall(text)}
    assert [found for found in hours if found not in known] == []
