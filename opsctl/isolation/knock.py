"""Whether a host still reaches the machine of the backup store, asked on the host itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opsctl.errors import Interrupted, OpsError
from opsctl.isolation.calling import Elsewhere
from opsctl.model.probes import Endpoint
from opsctl.model.values import value
from opsctl.shells.interface import Shell


@value
class Knocked:
    """``reached``: places that answered. ``sources``: addresses by which the host calls there. ``asked``: whether it could be asked."""

    reached: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    asked: bool = False


class Knock:
    """``connect`` makes a shell on the host; None for one that is not entered."""

    def __init__(self, connect: Callable[[], Shell] | None, places: Sequence[Endpoint]) -> None:
        self.connect = connect
        self.places = tuple(places)

    def __call__(self) -> Knocked:
        """Call every place from there. A host that does not answer is not asked, and proves nothing."""
        if self.connect is None or not self.places:
            return Knocked()
        try:
            answers, _, _ = Elsewhere.through(self.connect(), self.places).read()
        except Interrupted:
            raise
        except OpsError:
            return Knocked()
        reached = tuple(str(place) for place, answer in zip(self.places, answers, strict=True) if answer.outcome in ("open", "refused"))
        return Knocked(reached, tuple(dict.fromkeys(answer.source for answer in answers if answer.source)), True)
