"""Would anybody know: notices, the dead man's switch, and what is overdue, unverified or undrilled as last seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WARNING, WRONG, Check
from opsctl.model.quantities import counted
from opsctl.model.sets import FUTURE

if TYPE_CHECKING:
    from opsctl.wiring import Site

_DO = {
    "overdue": "`opsctl backup run NAME` says what keeps it; `opsctl runs` shows the last ones",
    "damaged": "`opsctl verify NAME` names what is damaged and what it reaches",
    "suspect": "look at its files: opsctl restore points NAME; then opsctl restore looked NAME SET --innocent --by NAME, or --attack",
    "unverified": "`opsctl verify NAME --level data` reads a share of it back; a schedule does so every night",
    "undrilled": "opsctl verify NAME --level drill",
}


def notices(site: Site) -> list[Check]:
    """Whether somebody is told, and whether somebody notices when nothing is told any more. Nothing is sent."""
    from opsctl.cli.notices import not_understood

    notify = site.config.notify
    if not site.config.backups:
        return []
    if notify is None or not (notify.urls or notify.secret):
        told = Check("notices", WARNING, "nobody is told when a backup fails or is late",
                     "notify: {urls: […]}; configs/README.md says what it takes")
    elif unknown := not_understood(site):
        told = Check("notices", WRONG, f"no notice can be sent to {', '.join(unknown)}",
                     "is the address as Apprise writes it? (mailto://user:password@server)")
    else:
        told = Check("notices", OK, f"{', '.join(notify.on)} is told")
    if notify is None or not (notify.dead_man or notify.dead_man_file):
        pulse = Check("dead man", WARNING, "nobody notices when this machine itself falls silent",
                      "notify: {dead_man: https://…}: an address that is called while all is well")
    else:
        pulse = Check("dead man", OK, "called after each `backup run --due` that went well")
    return [told, pulse]


def backups(site: Site) -> list[Check]:
    """How each backup and its copies stand, as last seen, and whether drills are asked for. No repository is asked."""
    from opsctl.cli import status

    found, undrilled = [], []
    for name, standing, verdict in status.stand(site):
        if standing is not None and (ahead := standing.states.get(FUTURE)):
            found.append(Check(f"backup {name}", WRONG, f"{counted(ahead, 'set')} of it dated at a time that is still to come",
                               "is this clock right? or who dated it? `opsctl backup list` names what is in the future"))
        elif verdict.word == "never":
            found.append(Check(f"backup {name}", WARNING, verdict.because, f"opsctl backup run {name}"))
        elif verdict.late:
            found.append(Check(f"backup {name}", WRONG, f"{verdict.word}: {verdict.because}",
                               _DO.get(verdict.word, "opsctl status").replace("NAME", name)))
        else:
            newest_is = "the newest good set is " if verdict.word == "ok" else ""
            found.append(Check(f"backup {name}", OK, f"{newest_is}{verdict.because}"))
        if site.config.backups[name].verify.drill is None and not (standing and standing.drills):
            undrilled.append(name)
    return [*found, *_copies(site), *_drills(undrilled)]


def _copies(site: Site) -> Iterator[Check]:
    from opsctl.cli.copies import Copies

    kept = site.catalogue.standing()
    for name in site.config.backups:
        for error in Copies(site, name, kept).late():
            place = (error.where or "").rpartition("/")[2]
            never = "never copied" in error.message
            yield Check(f"copy of {name}", WARNING if never else WRONG, error.message,
                        f"opsctl backup copy {name} --to {place}")


def _drills(undrilled: list[str]) -> Iterator[Check]:
    if undrilled:
        yield Check("drills", WARNING, f"no restore of {', '.join(undrilled)} was ever drilled, and none is asked for",
                    f"`opsctl verify {undrilled[0]} --level drill` does one; verify: {{drill: 30d}} asks for them")
