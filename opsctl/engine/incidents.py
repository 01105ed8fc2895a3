"""Incidents in the journal: written as entries, read as what they make together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from opsctl.engine.incident_folder import PAGE, Folder
from opsctl.engine.journal import Journal
from opsctl.errors import OpsError, SafetyRefusal
from opsctl.model.incident import ENTRIES, OPENED, Incident, fold
from opsctl.model.incident_kept import Hashed, flat
from opsctl.model.unknown import unknown
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import write_whole

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_PATIENCE = 10.0  # seconds for whoever writes at the same moment: milliseconds, unless that process is stopped


class Incidents:
    """What a journal knows of incidents. ``directory``: where each has a folder for people (``incidents/ID/``).

    ``behind``: other journals to read as well: a spool that nobody took in yet. ``written(kind, incident)`` is called after each
    entry of this process.
    """

    def __init__(self, journal: Journal, directory: Path, clock: Callable[[], datetime], behind: Sequence[Journal] = (),
                 written: Callable[[str, str], None] | None = None) -> None:
        self.journal = journal
        self.directory = directory
        self.behind = tuple(behind)
        self._clock = clock
        self._written = written
        self._read: tuple[Any, list[Hashed], dict[str, Incident]] = (None, [], {})

    def all(self) -> dict[str, Incident]:
        """Every incident by id. Damaged lines are left out here: ``journal verify`` names them, and nothing may hold a report up."""
        return dict(self._known()[1])

    def lines(self, name: str) -> list[Hashed]:
        """Every entry of one incident, also those that were taken over, in the order in which this machine got them."""
        return [line for line in self._known()[0] if line.data.get("incident") == name]

    def _known(self) -> tuple[list[Hashed], dict[str, Incident]]:
        """All entries and what they make, read anew only where something was written since."""
        journals = (self.journal, *self.behind)
        try:
            state = tuple(journal.state() for journal in journals)
        except (OpsError, OSError):
            state = None
        if state is None or state != self._read[0]:
            lines = self._lines()
            self._read = (state, lines, fold(sorted(lines, key=lambda line: line.type != OPENED)))  # of two journals neither is the first
        return self._read[1:]

    def _lines(self) -> list[Hashed]:
        found: dict[str, Hashed] = {}
        for journal in (self.journal, *self.behind):
            with contextlib.suppress(OpsError):
                for line in journal.read(types=ENTRIES, on_damage=lambda _: None):
                    found.update((one.hash, one) for one in flat(line) if one.hash not in found)
        return list(found.values())

    def get(self, name: str) -> Incident:
        """One incident. UsageError where there is none of that id."""
        found = self.all()
        if name not in found:
            raise unknown("incident", name, found, hint="opsctl incident list")
        return found[name]

    def open_ones(self) -> list[Incident]:
        return [one for one in self.all().values() if one.closed is None]

    def earnest(self) -> list[str]:
        """The ids of the open ones that are no drill."""
        return [one.id for one in self.open_ones() if not one.drill]

    def require_open(self, name: str) -> Incident:
        """As ``get``; SafetyRefusal where it is closed."""
        return refuse_closed(self.get(name))

    def write(self, kind: str, data: Mapping[str, Any], *, run: str | None = None, check: Callable[[Incident], None] | None = None) -> None:
        """Add an entry (``model.incident``), flushed before anything else, and the folder's page of it. Raises what journals raise.

        ``check`` looks at the incident while nobody else writes into any, and raises what speaks against the entry.
        """
        name = str(data["incident"])
        with self._alone():
            if check is not None:
                check(self.get(name))
            self.journal.append(kind, data, run=run)
            self._page(name)
        if self._written is not None:
            self._written(kind, name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from writing between a look and its entry; where that cannot be had, nothing is held up by it."""
        descriptor = None
        with contextlib.suppress(OSError):
            private_folder(self.directory)
            descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _PATIENCE
        try:
            while descriptor is not None and time.monotonic() < until:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def new_id(self) -> str:
        """``inc-20261221-7f3a``."""
        return f"inc-{self._clock():%Y%m%d}-{secrets.token_hex(2)}"

    def folder(self, name: str) -> Path:
        """Where what belongs to an incident is kept."""
        return self.directory / name

    def content(self, name: str) -> Folder:
        """What lies in the folder of an incident, and what repositories have of it."""
        return Folder(self.folder(name))

    def _page(self, name: str) -> None:
        """``incident.yaml``, for people and auditors; the journal is what counts, so nothing is held up by it."""
        with contextlib.suppress(OpsError, OSError):
            write_whole(self.folder(name) / PAGE,
                        yaml.dump(as_json(self.get(name)), Dumper=_DUMPER, allow_unicode=True, sort_keys=False).encode())


def refuse_closed(found: Incident) -> Incident:
    """The incident; SafetyRefusal where it is closed."""
    if found.closed is not None:
        raise SafetyRefusal(f"incident {found.id} was closed at {found.closed.isoformat()}", hint="open another one: opsctl incident open")
    return found


def as_json(found: Incident) -> dict[str, Any]:
    """An incident for ``--json`` and its page; times are RFC 3339 with their zone."""
    return {
        "incident": found.id, "title": found.title, "drill": found.drill, "opened": found.opened.isoformat(), "opened_by": found.opened_by,
        "in_charge": found.in_charge, "types": list(found.types), "zones": list(found.zones), "noticed_at": found.noticed.isoformat(),
        "notices": [{"at": one.at.isoformat(), "by": one.by, "signal": one.signal, "recorded": one.recorded.isoformat()} for one in found.notices],
        "anchors": {name: at.isoformat() for name, at in found.anchors.items()},
        "orders": [{"order": one.id, "received_at": one.received.isoformat(), "due_at": one.due.isoformat() if one.due else None, "text": one.text}
                   for one in found.orders],
        "met": [{"duty": one.duty, "at": one.at.isoformat(), "recorded_at": one.recorded.isoformat(), "by": one.by, "channel": one.channel, "reference": one.reference, "to": one.to,
                 "files": [{"name": name, "sha256": digest} for name, digest in one.files]} for one in found.met],
        "decisions": dict(found.decisions), "reasons": dict(found.reasons),
        "statements": [{"subject": one.subject, "text": one.text, "basis": one.basis, "by": one.by, "at": one.at.isoformat()}
                       for one in found.statements],
        "fields": dict(found.fields),
        "records": {kind.partition(".")[2]: [{"at": one.at.isoformat(), **{key: said for key, said in one.data.items() if key != "incident"}} for one in all_]
                    for kind, all_ in found.records.items()},
        "closed": found.closed.isoformat() if found.closed else None,
        "timeline": [{"at": one.at.isoformat(), "by": one.by, "text": one.text, "seq": one.seq} for one in found.timeline],
    }
