"""How long what people have signed holds."""

from __future__ import annotations

from datetime import timedelta

from opsctl.model.fields import Duration, Part
from opsctl.model.part import Field


class Approvals(Part):
    """How people approve what opsctl does only on the word of several."""

    holds_for: Duration = Field(
        default=timedelta(days=1), description="How long an approval holds from the moment in which it was signed."
    )
