"""How long what people have signed holds, and what has to be signed at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from opsctl.model.fields import Duration, Part, Shown
from opsctl.model.part import Field


class Approvals(Part):
    """How people approve what opsctl does only on the word of several."""

    holds_for: Duration = Field(
        default=timedelta(days=1), description="How long an approval holds from the moment in which it was signed."
    )


class Playbooks(Part):
    """Your own playbooks (`playbooks/` beside the configuration)."""

    signed_by: Annotated[int, Field(ge=0, le=20), Shown("number")] = Field(
        default=0, description="How many of `people` have to vouch for one of them as it is, by `opsctl playbooks sign`, before it is run."
    )
