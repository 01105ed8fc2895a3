"""How a source comes into production that nothing here can rename: by three commands of the site's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from opsctl.model.fields import Command, Duration, Mistake, Part, shown
from opsctl.model.part import Field

#: What stands for what in the words of the commands.
SET, FOLDER = "set", "folder"


class Promotion(Part):
    """Commands that bring a source into production and take it back, run on this machine without a shell. `${set}` is the id of
    the set."""

    promoted: Command = Field(description="Exits 0 where `${set}` is in production, 1 where it is not; anything else is a failure. It changes nothing.")
    promote: Command = Field(
        description="Brings it into production, from its files, restored and proven, below `${folder}`, and keeps what it replaces. "
        "Run again after it was cut off, it has to go on."
    )
    rollback: Command = Field(description="Puts back what `${set}` replaced, and keeps what it had brought.")
    limit: Duration = Field(default=timedelta(days=1), description="A command that takes longer is ended, and has failed.")


def promotion_mistakes(name: str, entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """Places in the commands that nothing fills in, and commands that do not say which set they mean."""
    from opsctl.model.config_source import places, unknown_places

    spec = entry.get("promotion")
    if not isinstance(spec, dict):
        return
    place = ("sources", name, "promotion")
    for key in ("promoted", "promote", "rollback"):
        known = [SET, FOLDER] if key == "promote" else [SET]
        yield from unknown_places((*place, key), spec.get(key), known, otherwise={})
        if spec.get(key) is not None and all(found != SET for _, found in places(spec[key])):
            yield (*place, key), f"needs ${{{shown(SET)}}} in one of its words: the set that it is about"
