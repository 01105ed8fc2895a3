"""The demo's morning of the attack: the portal is cut off, the city on its separate system is not."""

from __future__ import annotations

import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Tone
from opsctl.demo import network
from opsctl.errors import NotConverged

if TYPE_CHECKING:
    from opsctl.demo.story import Lab

_LOOK = 1.0  # seconds for which the attacker's session is watched


def play(lab: Lab, config: Path, at: datetime) -> None:
    """Cut the portal off and open it again, with an attacker's session watched all the while; says it where that cannot be.

    Raises NotConverged where the session lived on, or where the city's was hurt.
    """
    if (trouble := network.trouble()) is not None:
        lab.say(f"  Left out: this machine gives no network namespaces for it ({trouble}); as root it is shown.", Tone.WARN)
        lab.facts["isolated"] = None
        return
    with network.Network(lab.root / "network") as net:
        keys = config / "keys"
        for ending in ("", ".pub"):
            shutil.copy(lab.root / "network" / f"login{ending}", keys / f"ssh-isolation{ending}")
        (config / "network.yaml").write_text(net.configuration())
        try:
            _cut_off(lab, net, config, at)
        finally:
            (config / "network.yaml").unlink()


def _cut_off(lab: Lab, net: network.Network, config: Path, at: datetime) -> None:
    inside = net.inside()
    lab.say(f"  An attacker has talked with app-1 for a while ({net.answers('app-1')} answers), and with the city's host, too.")
    lab.opsctl("isolate", "plan", "--zone", "portal", at=at, config=config, inside=inside, show=30)
    lab.opsctl("isolate", "apply", "--zone", "portal", at=at, config=config, inside=inside, show=40)
    portal, city = _growth(net)
    lab.say(f"  In one second since, the attacker got {portal} answers from app-1 and {city} from the city, which nobody cut off.",
            Tone.GOOD)
    lab.opsctl("isolate", "status", at=at, config=config, inside=inside)
    lab.opsctl("isolate", "release", "--zone", "portal", at=at + timedelta(minutes=10), config=config, inside=inside)
    again, still = _growth(net)
    if portal or again:
        raise NotConverged(f"the attacker's session lived on: {portal} and {again} answers after it was cut")
    if not (city and still):
        raise NotConverged("the city, which was not cut off, lost its connections")
    lab.say("  Opened again, the attacker's old session is dead and stays dead.", Tone.GOOD)
    lab.facts["isolated"] = sum(zone == "portal" for zone in network.ZONES.values())


def _growth(net: network.Network) -> tuple[int, int]:
    """Answers of app-1 and of the city within a second."""
    before = [net.answers(name) for name in ("app-1", "city-1")]
    time.sleep(_LOOK)
    portal, city = (net.answers(name) - old for name, old in zip(("app-1", "city-1"), before, strict=True))
    return portal, city
