"""Tape libraries and whatever else takes a medium by its barcode, by the site's own programs."""

from __future__ import annotations

from datetime import timedelta

from opsctl.model.fields import Command, Duration, Part
from opsctl.model.part import Field


class Library(Part):
    """A library, drive or service of the site, run without a shell. `{barcode}` in its words is the tape's. The key of the entry is its name."""

    write: Command = Field(description="Writes what comes by standard input to the tape, from its beginning.")
    read: Command = Field(description="Writes what is on the tape to standard output.")
    limit: Duration = Field(default=timedelta(hours=12), description="One that takes longer is ended, and has failed.")
