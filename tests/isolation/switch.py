"""A switch that the lab's machines are plugged into, with the program that shuts its ports: what `isolation: command` is tried on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.isolation import Lab

#: Which address is at which port, and which ports are shut, stand in its folder; shutting one takes the cable's end down in
#: the network of the switch. As a real one it refuses what is done already.
_SWITCH = """\
#!/bin/sh
port=$(sed -n "s/^$3 //p" {place}/ports)
[ "$port" ] || {{ echo "no port has $3" >&2; exit 4; }}
case $1-$([ -e {place}/$port.shut ] && echo shut) in
    show-shut) exit 0 ;;
    show-) exit 1 ;;
    shut-) touch {place}/$port.shut; exec nsenter -t {init} -n ip link set $port down ;;
    open-shut) rm {place}/$port.shut; exec nsenter -t {init} -n ip link set $port up ;;
    *) echo "$2: port $port is so already" >&2; exit 7 ;;
esac
"""


class Switch:
    """In a folder of its own; ``close`` opens every port."""

    def __init__(self, lab: Lab, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.lab = lab
        self.place = place
        self.ports = {host.address: f"p{number}" for number, host in enumerate(lab.hosts.values()) if host.zone is None}
        (place / "ports").write_text("".join(f"{address} {port}\n" for address, port in self.ports.items()))
        self.program = script(place / "switch", _SWITCH.format(place=place, init=lab._one))

    @property
    def shut(self) -> list[str]:
        return sorted(each.stem for each in self.place.glob("*.shut"))

    def close(self) -> None:
        for port in self.shut:
            subprocess.run(["nsenter", "-t", str(self.lab._one), "-n", "ip", "link", "set", port, "up"], check=True)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def words(program: Path | str) -> dict[str, list[str]]:
    """The three commands of a tool that is called as the switch is."""
    return {verb: [str(program), does, "{host}", "{address}"]
            for verb, does in (("observe", "show"), ("load", "shut"), ("release", "open"))}
