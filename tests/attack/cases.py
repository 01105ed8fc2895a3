"""Every attacker and every innocent, and how one is tried: quiet sets first, then the act, a set after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.attack import attackers, innocents, office, tables
from tests.machine import Machine

Act = Callable[[Any, int, Random], None]
BEGIN = datetime.fromisoformat("2026-10-01T02:30:00+05:30")
#: Where the canaries stand in an office that has some.
CANARIES = ("ward-00/0000 register.docx", "ward-05/0000 register.pdf")


@dataclass(frozen=True)
class Case:
    """``sets``: how many are taken while it acts; ``files``: of the office; ``always``: it acts in the quiet sets before, too."""

    name: str
    act: Act
    attack: bool
    sets: int = 2
    files: int = 400
    always: bool = False
    kind: str = "files"


def _attack(name: str, act: Act, **more: Any) -> Case:
    return Case(name, act, True, **more)


def _innocent(name: str, act: Act, **more: Any) -> Case:
    return Case(name, act, False, **more)


CASES = (
    _attack("encrypts all at once", attackers.at_once),
    _attack("encrypts all, adds a suffix and leaves demands", attackers.at_once_renamed),
    _attack("encrypts all, each under a name and suffix by chance", attackers.nameless),
    _attack("encrypts slowly, 1 % of 400 files a set", attackers.slowly, sets=8),
    _attack("encrypts slowly, 1 % of 100 files a set", attackers.slowly, sets=8, files=100),
    _attack("encrypts the first 1 KiB of all", attackers.heads),
    _attack("encrypts the first 1 KiB of 1 % of 400 files a set", attackers.heads_slowly, sets=8),
    _attack("encrypts all but the first 4 KiB of each", attackers.behind_heads),
    _attack("renames all, encrypts nothing", attackers.renamed_only),
    _attack("packs all into archives with a password", attackers.into_archives),
    _innocent("ordinary days", innocents.nothing, sets=12),
    _innocent("import of as many photographs as there were files", innocents.photographs),
    _innocent("import of recordings", innocents.recordings),
    _innocent("all pictures compressed anew", innocents.smaller_photographs),
    _innocent("all pictures turned into WebP", innocents.other_format),
    _innocent("upgrade of a program, real files", innocents.upgrade, sets=3),
    _innocent("logs rotated and packed", innocents.rotated, sets=4),
    _innocent("everything moved into another folder", innocents.tidied),
    _innocent("every file set aside as .bak", innocents.kept_aside),
    _innocent("letters encrypted with GnuPG on purpose", innocents.locked_letters),
    _innocent("passwords put on all documents", innocents.with_passwords),
    _innocent("dumps with pictures in their rows", innocents.dumps, sets=3, always=True),
    _innocent("records that always were noise", innocents.own_noise, sets=4, always=True),
    _attack("encrypts all text of one table", tables.one_table, kind="table"),
    _attack("replaces a column by bytes", tables.as_bytes, kind="table"),
    _attack("encrypts 1 % of the rows of one table a set", tables.slowly, kind="table", sets=12),
    _attack("empties all tables and leaves a demand", tables.emptied, kind="table"),
    _attack("drops half of the tables", tables.dropped, kind="table"),
    _innocent("ordinary days of a database", tables.nothing, kind="table", sets=12),
    _innocent("year-end: next year's bills, an archive of the old", tables.year_end, kind="table", sets=3),
    _innocent("a column of password hashes added", tables.hashed_column, kind="table", sets=3),
    _innocent("all tokens made anew", tables.new_tokens, kind="table"),
    _innocent("one table emptied for a new season", tables.one_emptied, kind="table"),
)


@dataclass
class Trial:
    """How one case went: the verdict of each set while it acted, and of each quiet one; why the first suspect one was."""

    case: Case
    quiet: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    why: str = ""

    @property
    def noticed(self) -> int | None:
        """In which set of the act it was noticed, from 1; None where in none."""
        return self.verdicts.index("suspect") + 1 if "suspect" in self.verdicts else None


def attempt(case: Case, machine: Machine, seed: int, *, canaries: bool = False, quiet: int = 3) -> Trial:
    """Live through it on a machine whose only source is ``machine.data``; of a database a file in there."""
    chance = Random(f"{case.name} {seed}")
    if case.kind == "table":
        return _attempt_tables(case, machine, chance, quiet)
    office.furnish(machine.data, case.files, chance)
    if canaries:
        listed = ", ".join(f'"{machine.data}/{name}"' for name in CANARIES)
        file = machine.etc / "opsctl.yaml"
        file.write_text(file.read_text().replace(f"paths: [{machine.data}]", f"paths: [{machine.data}], canaries: [{listed}]"))
        machine("--yes", "backup", "canaries", "--write", expect=0)
    planted = {machine.data / name for name in CANARIES} if canaries else set()
    found = Trial(case)
    for number in range(quiet + case.sets):
        if number:
            held = {path: path.read_bytes() for path in planted if path.exists()}
            office.day(machine.data, chance)
            if number < quiet:  # nobody works on canaries
                for path, content in held.items():
                    path.write_bytes(content)
        if number >= quiet or case.always:
            case.act(machine.data, number - quiet if number >= quiet else number, chance)
        machine.at((BEGIN + timedelta(days=3 * number)).isoformat())
        accept = ("--accept", "files") if case.attack or number >= quiet else ()
        seen = machine.json("backup", "run", *accept, expect=0).result["backups"]["portal"]["signals"]
        (found.verdicts if number >= quiet else found.quiet).append(seen["verdict"])
        if seen["verdict"] == "suspect" and not found.why:
            found.why = "; ".join(seen["reasons"])
    return found


def _attempt_tables(case: Case, machine: Machine, chance: Random, quiet: int) -> Trial:
    path = machine.data / "portal.db"
    machine.configure(sources=f"  portal-db: {{kind: sqlite, path: {path}}}", backup_sources="[portal-db]")
    tables.furnish(path, chance)
    found = Trial(case)
    for number in range(quiet + case.sets):
        if number:
            if number < quiet or case.act not in (tables.emptied, tables.dropped):
                tables.day(path, chance)
        if number >= quiet:
            tables.act(path, case.act, number - quiet, chance)
        machine.at((BEGIN + timedelta(days=3 * number)).isoformat())
        accept = ("--accept", "portal-db") if number >= quiet else ()
        seen = machine.json("backup", "run", *accept, expect=0).result["backups"]["portal"]["signals"]
        (found.verdicts if number >= quiet else found.quiet).append(seen["verdict"])
        if seen["verdict"] == "suspect" and not found.why:
            found.why = "; ".join(seen["reasons"])
    return found
