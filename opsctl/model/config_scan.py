"""What restored data is searched for, and how much of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from opsctl.model.fields import Duration, FilePath, Part, Size
from opsctl.model.part import Field


class Scan(Part):
    """How restored files and dumps are searched for what an attacker leaves behind (`opsctl explain scan`)."""

    rules: FilePath | None = Field(
        default=None,
        description="Folder with YARA rules of your own (`*.yar`, `*.yara`), beside those that opsctl brings. `filename`, `filepath` and "
        "`extension` are known in them.",
    )
    largest: Annotated[Size, Field(ge=1)] = Field(
        default=16 << 30, description="A larger file is not scanned, and told as such; a dump is one file."
    )
    timeout: Duration = Field(
        default=timedelta(minutes=10), description="A file that takes longer is not scanned to its end, and told as such."
    )
