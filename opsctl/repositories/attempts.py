"""Which sets could not be copied to a repository because their data is damaged, and when that was last tried.

It only keeps the hourly timer from reading gigabytes in vain each time: where it is lost, the next call tries again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from opsctl.errors import ProgramFailed
from opsctl.model.snapshots import parse_time

#: How long a copy that met damage is not tried again by itself.
PAUSE = timedelta(days=1)


class Attempts:
    """A small file beside the ledger of the repository that is copied to: by backup and set, ``time run message``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, backup: str) -> Mapping[str, Mapping[str, Any]]:
        """By set. Empty where there is nothing, or nothing that can be read."""
        found = self._load().get(backup)
        return found if isinstance(found, dict) else {}

    def paused(self, backup: str, now: datetime, run: str) -> dict[str, str]:
        """The sets that are not tried again yet, with why. A time ahead of the clock pauses nothing.

        ``run``: the one that asks; what it has tried itself in vain is its own failure and not put off.
        """
        found = {}
        for name, entry in self.of(backup).items():
            try:
                since = now - parse_time(entry["time"])
                message = str(entry["message"])
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            if timedelta(0) <= since < PAUSE and entry.get("run") != run:
                found[name] = message
        return found

    def failed(self, backup: str, set_id: str, message: str, now: datetime, run: str) -> None:
        """Note a failure. One that cannot be written down is tried again earlier, and nothing else."""
        known = self._load()
        known[backup] = {**self.of(backup), set_id: {"time": now.isoformat(), "run": run, "message": message}}
        self._save(known)

    def succeeded(self, backup: str, set_id: str) -> None:
        """Forget earlier failures."""
        if set_id in self.of(backup):
            known = self._load()
            known[backup] = {name: entry for name, entry in self.of(backup).items() if name != set_id}
            self._save(known)

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _save(self, content: Mapping[str, Any]) -> None:
        from opsctl.repositories.whole import write_whole

        try:
            write_whole(self.path, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
        except ProgramFailed:
            return
