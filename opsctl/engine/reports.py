"""Drafts of reports beside their incident: each kept under a number of its own, with its hashes in the journal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.engine.incidents import Incidents
from opsctl.engine.report_facts import facts
from opsctl.errors import OpsError
from opsctl.model.incident import DRAFTED, Incident
from opsctl.model.values import value
from opsctl.plain_file import read_plain
from opsctl.reports.document import Facts
from opsctl.reports.drafting import Draft, draft
from opsctl.repositories.papers import copy_hashed
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import system_said_no, write_whole


@value
class Drafted:
    """A draft and where it lies. ``paths`` lacks what could not be written; ``problems``: that, and what could not be made."""

    draft: Draft
    paths: tuple[Path, ...]
    before: int
    problems: tuple[OpsError, ...]


class Reports:
    """The reports of a site's incidents. ``incidents``: where those are known from."""

    def __init__(self, incidents: Incidents, config: Any, clock: Callable[[], datetime]) -> None:
        self.incidents = incidents
        self.config = config
        self._clock = clock

    def folder(self, incident: str) -> Path:
        return self.incidents.folder(incident) / "reports"

    def facts(self, found: Incident, person: str = "") -> Facts:
        """What reports of an incident are filled from now."""
        return facts(found, self.config, (self.incidents.journal, *self.incidents.behind), self.folder(found.id), self._clock(), person)

    def draft(self, report: str, incident: str, *, by: str, languages: Sequence[str] = (), person: str = "", run: str | None = None,
              dry: bool = False) -> Drafted:
        """Draft a report of an incident, keep it beside those before, and write it into the journal.

        ``languages``: those of the organisation where none is given; ``person``: who reports, by their name under ``people``, else
        who is in charge. UsageError for a report, incident or person there is not; nothing else holds it up: it is in ``problems``.
        """
        found = self.incidents.get(incident)
        given = self.facts(found, person)
        before, old = self.last(found, report)
        number = before + 1 if dry else self._claim(found, report, before + 1)
        made = draft(report, given, self.config.organisation.tz, tuple(languages) or self.config.organisation.languages, number, old)
        problems = list(made.problems)
        paths: list[Path] = []
        if not dry:
            paths, failed = self._write(found, made)
            problems += failed
            try:
                self.incidents.write(DRAFTED, {"incident": found.id, "by": by, "report": report, "number": number, "files": [
                    {"name": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in made.files.items()]}, run=run)
            except OpsError as error:  # it was made, and is shown
                problems.append(error)
        return Drafted(made, tuple(paths), before, tuple({(one.message, one.where): one for one in problems}.values()))

    def _write(self, found: Incident, made: Draft) -> tuple[list[Path], list[OpsError]]:
        paths: list[Path] = []
        problems: list[OpsError] = []
        for name, content in made.files.items():
            try:
                write_whole(self.folder(found.id) / name, content)
                paths.append(self.folder(found.id) / name)
            except OpsError as error:
                problems.append(error)
        return paths, problems[:1]  # the same disk says the same of each

    def last(self, found: Incident, report: str) -> tuple[int, dict[str, Any]]:
        """Number and JSON of the last draft; 0 where there is none, and no JSON where it cannot be read."""
        folder = self.folder(found.id)
        numbers = [int(one.data["number"]) for one in found.of(DRAFTED) if one.data["report"] == report]
        with contextlib.suppress(OSError):
            numbers += [int(rest) for path in folder.glob(f"{report}-*.json") if (rest := path.stem.removeprefix(f"{report}-")).isdigit()]
        last = max(numbers, default=0)
        try:
            content = json.loads(read_plain(folder / f"{report}-{last}.json"))
        except (OSError, ValueError):
            return last, {}
        return last, content if isinstance(content, dict) else {}

    def _claim(self, found: Incident, report: str, number: int) -> int:
        """A number that nobody else drafts under at this moment."""
        folder = self.folder(found.id)
        with contextlib.suppress(OSError):
            private_folder(folder)
            while True:
                try:
                    os.close(os.open(folder / f"{report}-{number}.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                    break
                except FileExistsError:
                    number += 1
        return number

    def keep_sent(self, incident: str, report: str, number: int, files: Sequence[Path]) -> list[dict[str, Any]]:
        """Copy what was sent into ``reports/sent/``; name, SHA-256 and size of each. ProgramFailed where one cannot be read or copied."""
        place = self.folder(incident) / "sent" / f"{report}-{number}"
        told = []
        for path in files:
            try:
                private_folder(place)
                target = _free(place / path.name)
                told.append({"name": target.name, **_copy(path, target)})
            except OSError as error:
                raise system_said_no(error, path) from error
        return told


def _copy(path: Path, target: Path) -> dict[str, Any]:
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        sha256, size = copy_hashed(path, out)
        out.flush()
        os.fsync(out.fileno())
    return {"sha256": sha256, "bytes": size}


def _free(path: Path) -> Path:
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
