"""The words of reports in one language (``words.yaml``), with the Hindi of labels whose English stands in the protocol."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from opsctl.reports.page import FOLDER

FORM_TIME = "%d/%m/%Y %H:%M"
"""As the form asks for it (S3)."""


class Words:
    """``language`` is ``en`` or ``hi``; moments are told in ``zone``."""

    def __init__(self, language: str, zone: tzinfo) -> None:
        self.language = language
        self.zone = zone
        self.texts = _texts()

    def __call__(self, name: str, /, **given: object) -> str:
        """A sentence, with what is given filled in as it is."""
        return str(self.texts["say"][name][self.language]).format(**given)

    def title(self, report: str) -> str:
        return str(self.texts["titles"][report][self.language])

    def section(self, name: str) -> str:
        return str(self.texts["sections"][name][self.language])

    def columns(self, *names: str) -> tuple[str, ...]:
        return tuple(str(self.texts["columns"][name][self.language]) for name in names)

    def hindi(self, key: str) -> str | None:
        """The Hindi of a field's label."""
        found = self.texts["labels"].get(key)
        return None if found is None else str(found)

    def choice(self, name: str) -> str:
        """One of the values that a form knows, in words."""
        found = self.texts["choices"].get(name)
        return str(found[self.language]) if found else name.replace("_", " ")

    def stamp(self, moment: datetime) -> str:
        """``21/12/2026 02:30 IST (UTC+05:30)``: the zone has to be recorded with each time (S2 Q40)."""
        here = moment.astimezone(self.zone)
        offset = f"{here:%z}"
        return f"{here:{FORM_TIME}} {here:%Z} (UTC{offset[:3]}:{offset[3:]})"


@functools.cache
def _texts() -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    found: Mapping[str, Any] = yaml.load((FOLDER / "words.yaml").read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found
