"""Is the emergency kit that was built here last still what it would be if it were built now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WARNING, Check
from opsctl.cli.report import Mark, Tone

if TYPE_CHECKING:
    from opsctl.wiring import Site

NAME = "kit"
_BUILD = "opsctl kit build DIR, onto two media, and print its pages"


def check(site: Site) -> list[Check]:
    """Nothing where there is no repository yet."""
    from opsctl.wiring.kit import KitFacts, last

    if not site.config.repositories:
        return []
    known = last(site)
    if known is None:
        return [Check(NAME, WARNING, "none was built here, as far as this machine knows", _BUILD)]
    outdated = KitFacts(site).outdated(known)
    where = f"built {_when(site, known)} in {known['into']}"
    return [Check(NAME, WARNING, f"{where}: {'; '.join(outdated[:3])}{'; …' if len(outdated) > 3 else ''}", _BUILD) if outdated else Check(NAME, OK, where)]


def lines(site: Site) -> list[Mark]:
    """What ``status`` says: only that a kit which was built here is behind."""
    from opsctl.wiring.kit import KitFacts, last

    known = last(site)
    if known is None or not (outdated := KitFacts(site).outdated(known)):
        return []
    return [Mark(f"the emergency kit, built {_when(site, known)}, is behind: {outdated[0]}{f'; and {len(outdated) - 1} more' if len(outdated) > 1 else ''} "
                 "(opsctl kit build)", Tone.WARN)]


def _when(site: Site, known: dict[str, str]) -> str:
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    return local_time(site, parse_time(known["time"]))
