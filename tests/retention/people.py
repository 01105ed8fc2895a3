"""Machines whose configuration knows people, and the signatures of these people."""

from __future__ import annotations

from pathlib import Path

from tests.machine import Machine, Said

PEOPLE = ("asha", "imran", "meena")
DAY = "2026-12-{:02d}T02:30:00+05:30"


class Shared(Machine):
    """One machine of several that may share a repository. ``keys``: a folder with the people's keys."""

    def __init__(self, root: Path, keys: Path, *, store: Path | None = None) -> None:
        super().__init__(root)
        self.people_keys = keys
        self.store = store or self.store
        self.make_key()

    def setting(self, *, repository: str = "", more: str = "", repositories: str = "", people: tuple[str, ...] = PEOPLE,
                keep: str = "keep: {daily: 2}", url: str | None = None) -> None:
        """Write the configuration; ``repository`` adds keys to the repository ``main``, ``more`` to the backup ``portal``."""
        password = self.etc / "keys" / "repository-password"
        known = "".join(f"  {name}: {{name: {name.title()}, ssh_key: {(self.people_keys / f'{name}.pub').read_text().strip()}}}\n"
                        for name in people)
        self.configure("")
        self.configure(f"""
organisation: {{name: Test, timezone: Asia/Kolkata}}
state: {self.state}
{"people:" if known else ""}
{known}
repositories:
  main: {{url: "{url or self.store}", password_file: {password}{repository}}}
{repositories}
sources:
  files: {{kind: paths, paths: [{self.data}]}}
backups:
  portal: {{sources: [files], repository: main, every: 1d, {keep}{more}}}
""")

    def fingerprint(self) -> str:
        """Of this machine's own key."""
        from opsctl.shells.signing import fingerprint

        return fingerprint((self.etc / "keys" / "controller.pub").read_text())

    def trusts(self, other: Shared) -> None:
        trusted = self.etc / "keys" / "trusted"
        trusted.write_text((trusted.read_text() if trusted.exists() else "") + f"{other.fingerprint()} since today\n")

    def sets(self, *days: int) -> list[str]:
        """Take a set on each of these days of December; their ids."""
        found = []
        for day in days:
            self.at(DAY.format(day))
            (self.data / "bill").write_text(f"{day:>40} rupees\n" * 300)
            found.append(self.json("backup", "run", expect=0).result["backups"]["portal"]["set"])
        return found

    def states(self) -> dict[str, str]:
        return {one["set"]: one["state"] for one in self.json("backup", "list").result["sets"]}

    def approve(self, run: str, *people: str, expect: int = 0) -> Said:
        said = Said(0, "", "")
        for name in people:
            said = self.json("--yes", "approve", run, "agree", "--by", name, "--key", str(self.people_keys / name), expect=expect)
        return said

    def thaw(self, incident: str, *people: str) -> str:
        """Lift a freeze; the run."""
        run = str(self.json("backup", "thaw", "--incident", incident, expect=4).document["run"])
        self.approve(run, *people)
        self("resume", run, expect=0)
        return run

    def frozen(self) -> list[str]:
        """The incidents that this machine sees ``main`` frozen for."""
        self("status", "--refresh")
        return sorted(one["incident"] for one in self.json("status").result["frozen"].get("main", []))
