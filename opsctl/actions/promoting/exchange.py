"""One exchange of names: what shall stand where, and what a look says is still missing of it."""

from __future__ import annotations

import enum

from opsctl.errors import SafetyRefusal
from opsctl.model.values import value


@value
class Exchange:
    """What is called ``source`` shall be called ``place``, and what is called ``place`` shall be called ``kept``.

    Names are paths, or names of databases. ``new`` and ``old`` are the identities of the two, which no renaming changes;
    ``new`` is None where nothing shall have the name, ``old`` where nothing had it.
    """

    place: str
    source: str
    kept: str
    new: str | None
    old: str | None


@value
class Found:
    """The identity of what has each of the three names now; None where nothing has it."""

    place: str | None
    source: str | None
    kept: str | None


class Missing(enum.StrEnum):
    """What is still to be done."""

    NOTHING = "nothing"
    ALL = "all"
    #: ``new`` has its name, and ``old`` has the one that ``new`` had.
    KEEP = "keep"
    #: It has its name, and nobody is let in yet.
    OPEN = "open"


def missing(wanted: Exchange, found: Found) -> Missing:
    """What is left to do. SafetyRefusal where one of the names belongs to something that is neither of the two.

    What had the name and has gone meanwhile hinders nothing; without ``new`` nothing can be done.
    """
    if found.place == wanted.new:
        return Missing.KEEP if wanted.old is not None and found.source == wanted.old else Missing.NOTHING
    refuse_strange(wanted, found)
    if found.source != wanted.new:
        raise SafetyRefusal(f"what was to become {wanted.place} is not at {wanted.source} any more",
                            hint=f"find out who moved it; {wanted.place} was left as it is", where=wanted.place)
    if found.place is not None and found.kept is not None:
        raise SafetyRefusal(f"{wanted.kept}, which {wanted.place} was to be kept as, came into being meanwhile",
                            hint="move it away, then resume", where=wanted.place)
    return Missing.ALL


def refuse_strange(wanted: Exchange, found: Found) -> None:
    """SafetyRefusal where the place is somebody else's by now, or what was kept would be taken for what is brought."""
    if found.place not in (None, wanted.old, wanted.new):
        raise SafetyRefusal(
            f"{wanted.place} came into being, or was exchanged, since: it is neither what was there nor what was to come",
            hint="find out who did it and move it away, then resume; or start anew to replace it", where=wanted.place)
    if wanted.old is not None and found.source == wanted.old and found.place != wanted.new:
        raise SafetyRefusal(f"what stood at {wanted.place} lies in {wanted.source}, and {wanted.place} is not what was brought",
                            hint="`opsctl restore rollback` puts it back", where=wanted.place)
