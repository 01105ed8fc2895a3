"""For which incident something is begun: the one that is named, or the only one that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.errors import UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.wiring import Site

Named = Annotated[str, typer.Option("--incident", metavar="ID", help="the incident that it is for; the only open one, if not given")]


def meant(site: Site, name: str) -> str:
    """Its id; empty where none is open. UsageError where several are and none was named, SafetyRefusal where the one named is closed."""
    if name:
        return str(site.incidents.require_open(name).id)
    open_ones = [one.id for one in site.incidents.open_ones()]
    if len(open_ones) > 1:
        raise UsageError(f"{counted(len(open_ones), 'incident')} are open: {', '.join(open_ones)}; which one is it for?", hint=f"--incident {open_ones[0]}")
    return open_ones[0] if open_ones else ""
