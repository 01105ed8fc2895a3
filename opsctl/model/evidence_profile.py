"""A profile as the row of things that are collected: commands, logs of a window, named files, in the order in which they fade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from opsctl.model.config_evidence import BUILT_IN, Evidence, EvidenceCommand
from opsctl.model.evidence_items import LOGS, PACKAGES, VOLATILE, Asked, Logs, journal_since

Wanted = Asked | Logs


def wanted(what: str, spec: Evidence, since: datetime, files: Sequence[str]) -> tuple[Wanted, ...]:
    """Everything of a profile, and the files that were named besides. KeyError where there is no such profile."""
    own = None if what in BUILT_IN else spec.profiles[what]
    base = own.extends if own is not None else what
    commands = own.commands if own is not None else {}
    found: list[Wanted] = [*(VOLATILE if base != "nothing" else ()), *_commands(commands, "volatile")]
    if base == "full":
        found += [*PACKAGES, journal_since(int(since.timestamp())), *LOGS]
    if own is not None and own.logs:
        found.append(Logs("own-logs", "Logs of the site", tuple(own.logs), "application"))
    named = (*(own.files if own is not None else ()), *files)
    if named:
        found.append(Logs("files", "Named files", tuple(dict.fromkeys(named)), windowed=False))
    return (*found, *_commands(commands, "last"))


def _commands(commands: Mapping[str, EvidenceCommand], when: str) -> list[Asked]:
    return [Asked(f"own-{name}", one.about, (tuple(one.argv),), one.limit.total_seconds(), one.personal, one.size)
            for name, one in commands.items() if one.when == when]
