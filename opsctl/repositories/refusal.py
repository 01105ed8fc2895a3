"""What a store was asked to do against its promise, without harm, and what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from opsctl.model.values import value

What = Literal["delete", "overwrite", "shorten"]


@value
class Attempt:
    """One thing that was tried with the everyday credentials.

    ``what``: to ``delete``, to ``overwrite``, or to ``shorten`` a retention. ``refused``: whether the store said no, or
    kept what was there all the same, as one with versions does; None where it could not be tried (``message`` says
    why). ``message``: one sentence for a person.
    """

    what: What
    refused: bool | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, "refused": self.refused, "message": self.message}


def holds(attempts: Sequence[Attempt], *what: What) -> bool:
    """Whether each of these (all kinds that were tried, if none is named) was tried at least once, and always refused."""
    wanted = what or tuple({each.what for each in attempts})
    found = {kind: [each.refused for each in attempts if each.what == kind] for kind in wanted}
    return bool(found) and all(answers and all(answers) for answers in found.values())
