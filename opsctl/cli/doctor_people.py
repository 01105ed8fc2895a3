"""Could several people approve something today: who has a key, and are they the ones that were accepted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WARNING, WRONG, Check
from opsctl.cli.doctor_jobs import Job
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.wiring import Site

_SECONDS = 10.0


def jobs(site: Site) -> list[Job]:
    """What there is to look at; nothing where nobody stands in the configuration."""
    return [Job("people", lambda: [check(site)], _SECONDS)] if site.config.people else []


def check(site: Site) -> Check:
    """Who can sign, and whether they were accepted."""
    from opsctl.model.people import differ, fingerprint, roll_of, signing
    from opsctl.wiring.people import HINT, standing

    roll, found = roll_of(site.config.people), standing(site)
    known = found.people
    if known is not None and (why := differ(known, roll)):
        return Check("people", WRONG, f"not the ones that were accepted: {why}", HINT)
    able = signing(roll)
    owners = defaultdict(list)
    for name in able:
        owners[roll[name]["ssh_key"]].append(name)
    detail = f"{counted(len(owners), 'person', 'people')} can sign, all of them have the fingerprint {fingerprint(roll)}"
    detail += ", not accepted yet" if known is None else f", accepted on the word of {found.alone} alone" if found.alone else ""
    shared = [" and ".join(names) for names in owners.values() if len(names) > 1]
    if shared:
        return Check("people", WARNING, f"{detail}; {', '.join(shared)} have one key", "one key counts as one person: everybody needs their own")
    if len(owners) < 2:
        return Check("people", WARNING, f"{detail}: nothing that takes two can be approved",
                     "people: {NAME: {ssh_key: …}}: the line of their .pub file; three people better than two")
    return Check("people", OK, detail)
