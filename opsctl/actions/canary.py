"""canary: the files of a source that nobody has to touch are where the configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import SafetyRefusal
from opsctl.model.canaries import content
from opsctl.model.values import value
from opsctl.sources.canaries import ABSENT, OTHER, plant, stands


class CanaryParams(Params):
    """``source`` is the name of a source of files."""

    source: str


@value
class Seen:
    """How each canary of the source stands: ``there absent other``."""

    canaries: Mapping[str, str]


class Canary(StateAction[CanaryParams, Seen]):
    """Plants the canaries of a source: files that look worth taking, which nobody has to touch.

    with:
      source  the name of a source of files, with `canaries:` in the configuration

    A set in which one changed or went is suspect by that alone. Nothing that is there is ever overwritten (23).
    """

    word = "canary"
    Params = CanaryParams

    def observe(self, params: CanaryParams, world: World) -> Seen:
        paths = getattr(world.config.sources[params.source], "canaries", ())
        return Seen({path: stands(path, content(params.source, path)) for path in paths})

    def plan(self, params: CanaryParams, seen: Seen) -> list[Change]:
        other = [path for path, how in seen.canaries.items() if how == OTHER]
        if other:
            raise SafetyRefusal(f"{', '.join(other)}: something else is where a canary should be", where=params.source,
                                hint="did somebody change it? Look at it, then move it away or name another path")
        return [Change(path, f"plant {path}") for path, how in seen.canaries.items() if how == ABSENT]

    def apply(self, params: CanaryParams, change: Change, world: World) -> None:
        plant(change.key, content(params.source, change.key))

    def asked(self, params: CanaryParams, seen: Seen) -> int:
        return len(seen.canaries)

    def missing(self, params: CanaryParams, seen: Seen, changes: Sequence[Change]) -> str:
        return f"not there after planting: {', '.join(change.key for change in changes)}"

    def result(self, params: CanaryParams, seen: Seen) -> Mapping[str, Any]:
        return {"source": params.source, "canaries": dict(seen.canaries)}
