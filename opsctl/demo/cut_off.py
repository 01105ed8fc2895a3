"""The demo's network during the attack: the portal is cut off, the city on its separate system is not, and its packets are counted."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Tone
from opsctl.demo import network
from opsctl.errors import NotConverged

if TYPE_CHECKING:
    from opsctl.demo.lab import Lab

_LOOK = 1.0  # seconds for which the attacker's session is watched


@contextlib.contextmanager
def hosts(lab: Lab, config: Path) -> Iterator[network.Network | None]:
    """The network, as long as the incident lasts; None, said, where this machine gives none.

    Raises NotConverged where the city lost a packet meanwhile.
    """
    if (trouble := network.trouble()) is not None:
        lab.say(f"  Left out: this machine gives no network namespaces for it ({trouble}); as root it is shown.", Tone.WARN)
        lab.facts |= {"isolated": None, "city_packets": None}
        yield None
        return
    with network.Network(lab.root / "network") as net:
        keys = config / "keys"
        for ending in ("", ".pub"):
            shutil.copy(lab.root / "network" / f"login{ending}", keys / f"ssh-isolation{ending}")
        (config / "network.yaml").write_text(net.configuration())
        try:
            yield net
            _counted(lab, net)
        finally:
            (config / "network.yaml").unlink()


def watched(lab: Lab, net: network.Network) -> None:
    """What the attacker's session still gets: of app-1 nothing, of the city everything. NotConverged for anything else."""
    portal, city = growth(net)
    lab.say(f"  In one second since, the attacker got {portal} answers from app-1 and {city} from the city, which nobody cut off.",
            Tone.GOOD)
    if portal or not city:
        raise NotConverged(f"the attacker got {portal} answers from a host that is cut off, and {city} from one that is not")
    lab.facts["isolated"] = sum(zone == "portal" for zone in network.ZONES.values())


def opened(lab: Lab, net: network.Network) -> None:
    """Opened again, the old session stays dead."""
    portal, city = growth(net)
    if portal:
        raise NotConverged(f"the attacker's session lived on: {portal} answers after it was cut")
    if not city:
        raise NotConverged("the city, which was not cut off, lost its connections")
    lab.say("  Opened again, the attacker's old session is dead and stays dead.", Tone.GOOD)


def _counted(lab: Lab, net: network.Network) -> None:
    sent, answered = net.packets()
    if sent != answered or not sent:
        raise NotConverged(f"the city answered {answered} of {sent} packets")
    lab.facts["city_packets"] = sent
    lab.say(f"  The city on its separate system answered every one of {sent} packets all the while.", Tone.GOOD)


def growth(net: network.Network) -> tuple[int, int]:
    """Answers of app-1 and of the city within a second."""
    before = [net.answers(name) for name in ("app-1", "city-1")]
    time.sleep(_LOOK)
    portal, city = (net.answers(name) - old for name, old in zip(("app-1", "city-1"), before, strict=True))
    return portal, city
