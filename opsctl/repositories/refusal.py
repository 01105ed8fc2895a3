"""What a store was asked to do against its promise, without harm, and what it answered."""

from __future__ import annotations

from typing import Literal

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
