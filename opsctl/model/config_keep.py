"""How many sets of a backup are kept, and the door on the store's own side through which others go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from opsctl.model.fields import Duration, FilePath, Mistake, Part, Shown, entries
from opsctl.model.part import Field

_Number = Annotated[int, Field(ge=1, le=100_000), Shown("number")]


class Keep(Part):
    """Which sets stay when `opsctl backup prune` is run and two people agree; without it nothing is ever pruned.

    A set stays where one of these names it. Days, weeks (from Monday), months and years are those of the organisation's time zone."""

    #: The rules that count calendar periods, shortest first.
    PERIODS: ClassVar[tuple[str, ...]] = ("hourly", "daily", "weekly", "monthly", "yearly")

    last: _Number | None = Field(default=None, description="The newest sets, this many.")
    hourly: _Number | None = Field(default=None, description="The newest set of each of the last hours that have one, this many.")
    daily: _Number | None = Field(default=None, description="The newest set of each of the last days that have one, this many.")
    weekly: _Number | None = Field(default=None, description="The newest set of each of the last weeks that have one, this many.")
    monthly: _Number | None = Field(default=None, description="The newest set of each of the last months that have one, this many.")
    yearly: _Number | None = Field(default=None, description="The newest set of each of the last years that have one, this many.")
    within: Duration | None = Field(default=None, description="Every set that is no more than this older than the newest one.")


class Maintenance(Part):
    """The door on the store's own side, where upkeep runs."""

    url: FilePath = Field(
        description="Path of the repository on the machine that holds it. `opsctl backup prune` is run there, and deletes "
        "through it alone."
    )


def keep_mistakes(data: Any) -> Iterator[Mistake]:
    """A rule that keeps nothing would leave nothing; ``data`` may have any shape."""
    for name, entry in entries(data, "backups"):
        keep = entry.get("keep")
        if isinstance(keep, Mapping) and all(value is None for value in keep.values()):
            yield ("backups", name, "keep"), "names nothing that is kept; keep: {daily: 7, weekly: 5, monthly: 12}"
