"""A machine with an incident's people, and playbooks of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.machine import Machine

NOW = "2026-12-21T03:00:00+05:30"
NOTICED = ("--set", "noticed_at=2026-12-21T02:30+05:30", "--set", "noticed_by=night operator", "--set", "signal=files renamed", "--set",
           "in_charge=Asha Verma")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path / "m")
    people = ""
    for name, role in (("asha", "incident-lead"), ("imran", "restore-officer")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", found.root / name], check=True, stdin=subprocess.DEVNULL)
        public = (found.root / f"{name}.pub").read_text().strip()
        people += f'  {name}: {{name: {name.title()} Verma, roles: [{role}], ssh_key: "{public}"}}\n'
    found.configure(more=f"""
organisation: {{name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}}
zones: {{portal: {{title: Portal}}}}
people:
{people}
notify: {{urls: ["json://127.0.0.1:9/nobody-is-there"], on: [overdue]}}
""")
    found.make_key()
    found.at(NOW)
    (found.etc / "playbooks").mkdir(mode=0o700)
    (found.data / "a").write_text("a")
    return found


def own(machine: Machine, name: str, text: str) -> None:
    """A playbook of the site's own: inputs of an incident, and these steps."""
    (machine.etc / "playbooks" / f"{name}.yaml").write_text(f"""
name: {name}
title: {name}
inputs:
  incident:   {{type: incident, help: its id, default: new}}
  noticed_at: {{type: datetime, help: when}}
  noticed_by: {{type: string, help: who}}
  signal:     {{type: string, help: by what}}
  in_charge:  {{type: string, help: who leads}}
steps:
  - id: declare
    uses: incident
    after: []
    on_unknown: repeat
    with: {{title: Portal encrypted, noticed_at: "${{noticed_at}}", noticed_by: "${{noticed_by}}", signal: "${{signal}}", in_charge: "${{in_charge}}", join: true}}
{text}""")
