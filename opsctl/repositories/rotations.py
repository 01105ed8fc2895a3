"""Which records in a repository show that one key of a controller follows another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opsctl.errors import OpsError, SafetyRefusal
from opsctl.model.records import NAMESPACES, ROTATION, Record, canonical
from opsctl.model.rotation import Rotation, rotation_of
from opsctl.repositories.consents import Checks, Consents


class Rotations:
    """Holds the records of rotations against the keys and people that they name; each is checked once a process."""

    def __init__(self, signatures: Checks, consents: Consents) -> None:
        self._signatures = signatures
        self._consents = consents
        self._known: dict[str, Rotation | None] = {}

    def read(self, records: Iterable[Record], repository_id: str) -> list[Rotation]:
        """Those that hold. What does not is nothing: it makes no key count."""
        found = []
        for record in records:
            if record.format != ROTATION or record.signer is None:
                continue
            if record.snapshot not in self._known:
                self._known[record.snapshot] = self._shown(record.record, repository_id)
            one = self._known[record.snapshot]
            if one is not None:
                found.append(one)
        return found

    def _shown(self, record: Mapping[str, Any], repository_id: str) -> Rotation | None:
        said = record["statement"]
        words, namespace = canonical(said), NAMESPACES[ROTATION]
        try:
            if self._signatures.check(words, record["by_new"], namespace) != said["new"]:
                return None
            if record.get("by_old"):
                return rotation_of(said, False) if self._signatures.check(words, record["by_old"], namespace) == said["old"] else None
            self._consents.require(record, repository_id)
            return rotation_of(said, True)
        except (SafetyRefusal, OpsError, ValueError):
            return None
