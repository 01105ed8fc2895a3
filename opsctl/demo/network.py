"""The demo's network: a portal of two hosts, a city on a separate system, and an attacker who holds a session.

    the team  10.99.0.1, fd99::1 ── wire, a bridge ─┬─ app-1    .11   zone portal, serves on 8080
                                                    ├─ db-1     .12   zone portal
                                                    ├─ city-1   .21   zone city, serves on 8080
                                                    └─ outside  .99   the attacker; also the witness

Network namespaces with a real sshd and real nft in each; their one parent is also their end. As an ordinary user they live in
a user namespace.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from opsctl import programs
from opsctl.errors import ProgramFailed

HOSTS = {"app-1": 11, "db-1": 12, "city-1": 21, "outside": 99}
ZONES = {"app-1": "portal", "db-1": "portal", "city-1": "city"}
PORT = 8080
_LIMIT = 20.0  # seconds until the network stands

_PARENT = r"""
set -e
mount -t tmpfs lab /run
mkdir -p /run/sshd
ip link set lo up
ip link add wire type bridge
ip link set wire up
ip addr add 10.99.0.1/24 dev wire
ip -6 addr add fd99::1/64 dev wire nodad
for one in "$@"; do
    name=${one%:*}
    unshare --net --mount --pid --fork --kill-child --mount-proc sh "$PLACE/host" "$name" "${one#*:}" &
    until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
    ip link add "v$name" type veth peer name eth0 netns $!
    ip link set "v$name" master wire up
done
echo $$ >"$PLACE/parent.new"; mv "$PLACE/parent.new" "$PLACE/parent"
while :; do wait || :; done
"""

_HOST = r"""
set -e
exec >"$PLACE/$1/log" 2>&1
mount -t sysfs lab /sys 2>/dev/null || :
ip link set lo up
until ip link set eth0 up 2>/dev/null; do sleep 0.02; done
ip addr add "10.99.0.$2/24" dev eth0
ip -6 addr add "fd99::$2/64" dev eth0 nodad
if [ "$1" != outside ] && [ "$1" != db-1 ]; then "$PYTHON" "$PLACE/serve.py" & fi
if [ "$1" = outside ]; then "$PYTHON" "$PLACE/count.py" & fi
if [ "$1" = outside ]; then for name in app-1:11 city-1:21; do "$PYTHON" "$PLACE/call.py" "10.99.0.${name#*:}" "$PLACE/${name%:*}/answers" & done; fi
"$SSHD" -f "$PLACE/$1/sshd_config" -E "$PLACE/$1/sshd.log"
while :; do wait || :; sleep 1; done
"""

_SSHD = """\
Port 22
HostKey {folder}/key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PidFile none
"""

# A session that was there before the attack was noticed: ten questions a second over one connection.
_SERVE = """\
import socketserver
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
import socket, threading
def echo():
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("", 8080))
    while True:
        packet, sender = door.recvfrom(64)
        door.sendto(packet, sender)
threading.Thread(target=echo, daemon=True).start()
Server(("10.99.0.%d" % {address}, 8080), Answer).serve_forever()
"""

# Twenty packets a second to the city, each counted, and each that comes back; the last one may still be on its way.
_COUNT = """\
import os, socket, time
place = os.environ["PLACE"]
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.settimeout(2)
begun = False
sent = answered = 0
while True:
    door.sendto(b"%d" % sent, ("10.99.0.21", 8080))
    try:
        said = door.recv(64)
    except OSError:
        said = b""
    begun = begun or bool(said)
    if begun:
        sent, answered = sent + 1, answered + (said == b"%d" % sent)
        with open(place + "/packets.new", "w") as file:
            file.write("%d %d" % (sent, answered))
        os.replace(place + "/packets.new", place + "/packets")
    time.sleep(0.05)
"""

_CALL = """\
import socket, sys, time
while True:
    try:
        session = socket.create_connection((sys.argv[1], 8080), timeout=1)
        break
    except OSError:
        time.sleep(0.1)
session.settimeout(None)
count = 0
while True:
    session.sendall(b"more\\n")
    if not session.recv(64):
        break
    count += 1
    with open(sys.argv[2], "w") as file:
        file.write(str(count))
    time.sleep(0.1)
"""


class Network:
    """``with Network(place) as network:``. ``user`` is the account that its sshds let in."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._parent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._parent is not None:
            self._parent.kill()
            self._parent.wait()

    def _start(self) -> None:
        self.place.mkdir(mode=0o700)
        _key(self.place / "login")
        for name in HOSTS:
            folder = self.place / name
            folder.mkdir()
            _key(folder / "key")
            (folder / "authorized_keys").write_text((self.place / "login.pub").read_text())
            (folder / "sshd_config").write_text(_SSHD.format(folder=folder))
        (self.place / "host").write_text(_HOST)
        (self.place / "call.py").write_text(_CALL)
        (self.place / "count.py").write_text(_COUNT)
        (self.place / "serve.py").write_text(_SERVE.replace("{address}", "int(__import__('subprocess').getoutput('ip -4 -o addr show eth0')"
                                                            ".split('10.99.0.')[1].split('/')[0])"))
        sshd = programs.find("sshd")
        if sshd is None:
            raise ProgramFailed("sshd is not installed", hint="opsctl doctor --fix --for demo")
        environment = {**os.environ, "PLACE": str(self.place), "SSHD": sshd, "PYTHON": sys.executable, "S": "",
                       "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        apart = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
        with (self.place / "log").open("wb") as log:
            self._parent = subprocess.Popen(
                ["unshare", *apart, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _PARENT,
                 "sh", *(f"{name}:{number}" for name, number in HOSTS.items())],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + _LIMIT
        while not (self.place / "parent").exists() or not all(self.answers(name) > 2 for name in ("app-1", "city-1")) or not all(
                b"listening" in _read(self.place / name / "sshd.log") for name in HOSTS):
            if self._parent is None or self._parent.poll() is not None or time.monotonic() > until:
                said = _read(self.place / "log").decode(errors="replace").strip()
                raise ProgramFailed(f"the demo's network did not come up: {said[-300:] or 'it said nothing'}")
            time.sleep(0.05)

    def inside(self) -> Sequence[str]:
        """The words before a command that is to run on the team's machine."""
        assert self._parent is not None
        child = Path(f"/proc/{self._parent.pid}/task/{self._parent.pid}/children").read_text().split()[0]
        apart = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", child, *apart, "--net", "--"]

    def answers(self, name: str) -> int:
        """How many answers the attacker has got from a host so far."""
        return int(_read(self.place / name / "answers") or 0)

    def packets(self) -> tuple[int, int]:
        """How many packets were sent to the city so far, and how many of them came back."""
        sent, answered = map(int, _read(self.place / "packets").split() or (0, 0))
        return sent, answered

    def configuration(self) -> str:
        """Hosts and zones, as they stand in a configuration."""
        lines = ["zones:", '  portal: {title: "DRILL portal of the 412 bodies", public_services: [property-tax, water]}',
                 '  city:   {title: "DRILL city on a separate system"}', "hosts:"]
        for name, number in HOSTS.items():
            key = " ".join((self.place / name / "key.pub").read_text().split()[:2])
            zone = f", zone: {ZONES[name]}, isolation: nftables" if name in ZONES else ""
            lines.append(f"  {name}: {{address: 10.99.0.{number}, user: {self.user}{zone}, host_key: {key}}}")
        return "\n".join([*lines, "isolation:", "  witness: outside", f"  ports: [22, {PORT}]",
                          f'  outside: ["10.99.0.{HOSTS["city-1"]}:{PORT}"]', ""])


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "DRILL", "-f", str(path)], check=True,
                   stdin=subprocess.DEVNULL)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def trouble() -> str | None:
    """Why this machine gives no namespaces for it; None where it does."""
    apart = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    tried = subprocess.run(["unshare", *apart, "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                            "PATH=$PATH:/usr/sbin:/sbin; mount -t tmpfs lab /run && nft list tables"],
                           capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (tried.stderr.strip().splitlines() or ["it ended without a word"])[-1] if tried.returncode else None


__all__ = ["PORT", "Network", "trouble"]
