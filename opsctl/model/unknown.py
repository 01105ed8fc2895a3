"""What to say of a name on the command line that stands for nothing."""

from __future__ import annotations

from collections.abc import Iterable

from opsctl.errors import UsageError
from opsctl.model.fields import meant, shown

_NAMED = 12


def unknown(what: str, name: str, known: Iterable[str], *, hint: str | None = None) -> UsageError:
    """``there is no WHAT 'name'; did you mean x?``; the hint, unless one is given, says which there are."""
    names = list(known)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    there = f"there are: {', '.join(names[:_NAMED])}{more}" if names else f"there is no {what} at all"
    return UsageError(f"there is no {what} '{shown(name)}'{meant(name, names)}", hint=hint or there)
