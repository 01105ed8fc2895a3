"""What those who are told of trouble are told of incidents: that one is open, and that a duty of it will be due soon."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from opsctl.cli.incident_show import both, due_words, of_incident
from opsctl.model.clocks import near, next_due
from opsctl.model.notices import Trouble

if TYPE_CHECKING:
    from opsctl.wiring import Site

OF_INCIDENTS = ("incident:", "near:")
"""How the keys of these begin."""


def of_incidents(site: Site) -> list[Trouble]:
    """Each open incident, and each of its duties that will be due soon."""
    found = []
    for one in site.incidents.open_ones():
        drill, clocks = "DRILL: " if one.drill else "", of_incident(site, one)
        first = next_due(clocks)
        found.append(Trouble(f"incident:{one.id}", "incident", f"{drill}incident {one.id}: {one.title}; noticed {both(site, one.noticed)}; in charge: "
                             f"{one.in_charge}" + (f"; next: {first.duty}, {due_words(site, first)}" if first else ""), f"opsctl incident show {one.id}"))
        found += [Trouble(f"near:{one.id}/{clock.duty}", "incident", f"{drill}incident {one.id}: {clock.duty} is due {due_words(site, clock)}",
                          f"when it is done: opsctl incident met {one.id} {shlex.quote(clock.duty)} --channel … --by WHO")
                  for clock in near(clocks, site.clock())]
    return found
