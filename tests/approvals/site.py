"""A machine without any repository, whose playbook ``open`` does its second half only when two have approved."""

from __future__ import annotations

from pathlib import Path

from tests.machine import Machine, Said

#: Name, roles, and whom they stand in for.
PEOPLE = {"asha": (["restore-officer"], None), "imran": (["restore-officer"], None), "ravi": ([], "asha"), "usha": (["auditor"], None)}

PLAYBOOK = """
name: open
title: {{en: Open the doors, hi: दरवाज़े खोलें}}
inputs:
  incident: {{type: string, help: the incident, default: ""}}
steps:
  - {{id: before, uses: command, with: {{argv: [sh, -c, "echo before >> {diary}"]}}}}
  - {{id: agree, uses: approve, title: Agree, with: {{say: the doors may be opened, role: restore-officer{more}}}}}
  - {{id: act, uses: command, title: Open them, with: {{argv: [sh, -c, "echo opened >> {diary}"]}}}}
"""


class Site(Machine):
    """``keys``: where the people's keys lie."""

    def __init__(self, root: Path, keys: Path) -> None:
        super().__init__(root)
        self.keys = keys
        self.write_people()
        self.write_playbook()

    def write_people(self, *, more: str = "", **own: str) -> None:
        """The configuration; ``own`` gives people other keys: the name of the key's file."""
        lines = []
        for name, (roles, deputy) in PEOPLE.items():
            key = (self.keys / f"{own.get(name, name)}.pub").read_text().strip()
            lines.append(f"  {name}: {{name: {name.title()}, roles: [{', '.join(roles)}], ssh_key: {key}"
                         + (f", deputy_of: {deputy}" if deputy else "") + "}\n")
        self.configure(f"state: {self.state}\npeople:\n{''.join(lines)}{more}")

    def write_playbook(self, more: str = "") -> None:
        place = self.etc / "playbooks"
        place.mkdir(exist_ok=True)
        (place / "open.yaml").write_text(PLAYBOOK.format(diary=self.root / "diary", more=more))

    @property
    def diary(self) -> list[str]:
        path = self.root / "diary"
        return path.read_text().split() if path.exists() else []

    def begin(self, *words: str) -> str:
        """Start the run, which waits for approval; its id."""
        return str(self.json("run", "open", *words, expect=4).document["run"])

    def approve(self, run: str, by: str, *more: str, key: str | None = None, expect: int = 0) -> Said:
        return self.json("--yes", "approve", run, "agree", "--by", by, "--key", str(self.keys / (key or by)), *more, expect=expect)
