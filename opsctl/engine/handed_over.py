"""What is handed over of an incident: its folder, its entries in the journal, its runs and signatures, each checkable without opsctl."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.engine.journal_files import ADOPTED, adopted_place
from opsctl.engine.journal_lines import FORMAT, canonical, stamp
from opsctl.errors import DamagedData, OpsError
from opsctl.model.incident import Incident
from opsctl.model.stages import Course, courses
from opsctl.plain_file import open_plain
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import system_said_no, write_whole

NAMESPACE = "handover@opsctl"
LIST = "SHA256SUMS"
SIGNED = {"approve.signed": "approve@opsctl", "person.done": "done@opsctl", "incident.decided": "decide@opsctl"}
"""Entries whose ``statement`` a person signed, in RFC 8785 form, and for what (the namespace)."""
_ROLL = ("people.accepted",)
_NOT_OF_IT = frozenset({"incident-keep"})


@dataclass
class RunSeen:
    """A run of the time in which the incident was open. ``steps``: (time, step, item, outcome, because), as they ended.

    ``services``: those that it brought back in stages.
    """

    run: str
    playbook: str
    inputs: Mapping[str, Any]
    by: str
    began: datetime
    exit_code: int | None = None
    ended: bool = False
    steps: list[tuple[datetime, str, str, str, str]] = field(default_factory=list)
    services: list[Course] = field(default_factory=list)


@dataclass
class Seen:
    """What the journal has of an incident. ``lines``: its entries, as they stand there; ``chain``: (seq, hash) of every line of that time.

    ``signed``: (name, namespace, statement, signature); ``keys``: the people who were ever accepted, with theirs.
    """

    runs: dict[str, RunSeen] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    chain: list[tuple[int, str]] = field(default_factory=list)
    signed: list[tuple[str, str, Mapping[str, Any], str]] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)
    adopted: dict[str, Path] = field(default_factory=dict)
    damage: list[DamagedData] = field(default_factory=list)


def look(journal: Any, incident: Incident) -> Seen:
    """Read the journal once for the runs and once for the lines. Damaged lines are told in ``damage``, and hold nothing up."""
    seen = Seen()
    until = incident.closed
    for entry in journal.read(types=("run.bound",), on_damage=seen.damage.append):
        named = str(entry.data["inputs"].get("incident") or "")
        within = incident.opened <= entry.time and (until is None or entry.time <= until) and named in ("", "new")
        if entry.run and entry.data["playbook"] not in _NOT_OF_IT and (named == incident.id or within):
            seen.runs[entry.run] = RunSeen(entry.run, entry.data["playbook"], entry.data["inputs"], str(entry.data.get("started_by", "?")), entry.time)
    begun, pending, adopting = False, [], 0
    for entry in journal.read(on_damage=lambda _: None):
        if entry.seq == adopting:
            continue  # a line of the spool that was taken in there, which is handed over whole
        place = adopted_place(journal.directory, entry.data) if entry.type == ADOPTED and entry.time >= incident.opened else None
        if place is not None:
            adopting = entry.seq
            seen.adopted[place.name] = place
        of_it = entry.data.get("incident") == incident.id or entry.run in seen.runs or place is not None
        pending.append((entry.seq, entry.hash))
        if not of_it and entry.type not in _ROLL:
            continue
        seen.chain += pending if begun else pending[-1:]
        pending, begun = [], begun or of_it
        seen.lines.append(as_line(entry))
        _people(seen, entry)
        _signed(seen, entry)
        if entry.run in seen.runs:
            _step(seen.runs[entry.run], entry)
    for run in seen.runs.values():
        if run.inputs.get("stages"):
            run.services += courses(list(journal.read(run=run.run, on_damage=lambda _: None)))
    return seen


def as_line(entry: Any) -> bytes:
    """The entry as the journal has it, to the byte: its lines are in RFC 8785 form."""
    return (canonical({"data": dict(entry.data), "hash": entry.hash, "prev": entry.prev, "run": entry.run, "seq": entry.seq,
                       "time": stamp(entry.time), "type": entry.type, "v": FORMAT}) + "\n").encode()


def _people(seen: Seen, entry: Any) -> None:
    if entry.type in _ROLL:
        seen.keys |= {(name, str(one["ssh_key"])) for name, one in (entry.data.get("people") or {}).items() if one.get("ssh_key")}


def _signed(seen: Seen, entry: Any) -> None:
    said, signature = entry.data.get("statement"), entry.data.get("signature")
    if entry.type in SIGNED and isinstance(said, Mapping) and isinstance(signature, str):
        seen.signed.append((f"{entry.seq:06d}-{entry.type.partition('.')[2]}", SIGNED[entry.type], said, signature))


def _step(run: RunSeen, entry: Any) -> None:
    if entry.type == "step.end":
        run.steps.append((entry.time, entry.data["step"], entry.data.get("item") or "", entry.data["outcome"], entry.data.get("because", "")))
    elif entry.type in ("run.end", "run.waiting"):
        run.exit_code, run.ended = entry.data.get("exit_code"), entry.type == "run.end"


class Packing:
    """A folder being filled; it comes into view whole, with the list of its hashes, or not at all. ``files``: SHA-256 by path."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.place = target.parent / f".{target.name}.opsctl-export"
        self.files: dict[str, str] = {}

    def __enter__(self) -> Packing:
        with _explained(self.place):
            shutil.rmtree(self.place, ignore_errors=True)  # of an attempt that was killed
            private_folder(self.place)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    def put(self, name: str, content: bytes | str) -> None:
        """Write a file at this path of the folder. Raises ProgramFailed."""
        raw = content if isinstance(content, bytes) else content.encode()
        write_whole(self.place / name, raw)
        self.files[name] = hashlib.sha256(raw).hexdigest()

    def copy(self, source: Path, name: str) -> None:
        """Copy a file there, hashed as it is read. Raises ProgramFailed."""
        target, digest = self.place / name, hashlib.sha256()
        with _explained(target):
            private_folder(target.parent)
            with open_plain(source) as found, target.open("xb") as out:
                target.chmod(0o600)
                while piece := found.read(1 << 20):
                    digest.update(piece)
                    out.write(piece)
        self.files[name] = digest.hexdigest()

    def close(self, sign: Callable[[bytes, str], str]) -> list[OpsError]:
        """Write the list that ``sha256sum -c`` reads, sign it, and bring the folder into view. What kept it from being signed is returned."""
        content = "".join(_listed(name, digest) for name, digest in sorted(self.files.items())).encode()
        write_whole(self.place / LIST, content)
        errors: list[OpsError] = []
        try:
            write_whole(self.place / f"{LIST}.sig", sign(content, NAMESPACE).encode())
        except OpsError as error:
            errors.append(error)
        with _explained(self.target):
            if self.target.is_dir():
                self.target.rmdir()
            self.place.rename(self.target)
        return errors


def fill(packing: Packing, seen: Seen, folder: Path, names: Collection[str], page: Path, runs: Path, signers: str, check: Path) -> None:
    """Everything but the first page: ``names`` of the incident's folder, lines, runs, signatures, and the script that checks them."""
    for name in names:
        packing.copy(folder / name, f"incident/{name}")
    if page.is_file():
        packing.copy(page, f"incident/{page.name}")
    packing.put("journal/entries.jsonl", b"".join(seen.lines))
    packing.put("journal/chain.txt", "".join(f"{seq} {digest}\n" for seq, digest in seen.chain))
    for label, place in seen.adopted.items():
        for path in sorted(one for one in place.rglob("*") if one.is_file()):
            packing.copy(path, f"journal/taken-in-{label}/{path.relative_to(place)}")
    for label, namespace, said, signature in seen.signed:
        packing.put(f"signatures/{label}.{namespace.partition('@')[0]}.json", canonical(dict(said)))
        packing.put(f"signatures/{label}.{namespace.partition('@')[0]}.json.sig", signature)
    packing.put("signers", signers)
    for run in seen.runs.values():
        for name in ("plan.json", "result.json"):
            if (runs / run.run / name).is_file():
                packing.copy(runs / run.run / name, f"runs/{run.run}/{name}")
        packing.put(f"runs/{run.run}/steps.jsonl", "".join(
            json.dumps({"time": at.isoformat(), "step": step, "item": item, "outcome": outcome, "because": because}, ensure_ascii=True) + "\n"
            for at, step, item, outcome, because in run.steps))
    packing.copy(check, "check.py")


def _listed(name: str, digest: str) -> str:
    """A line of the list; sha256sum marks and writes out what would end it."""
    plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if plain != name else ''}{digest}  {plain}\n"


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise system_said_no(error, place) from error
