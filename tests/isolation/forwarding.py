"""A machine that forwards, in network namespaces: who is cut off at it, and what still passes.

    out 10.60.0.2  ── gw ── bridge za ── a   10.61.0.10, .11, … (many hosts with one hardware address)
        fd60::2       │              └── a1  10.61.250.1, fd61::a1 (one host with an address of its own)
                      └── zb ─────────── b   10.62.0.2, fd62::2

gw has a firewall of somebody else, which lets established connections pass, drops what it calls invalid, and forwards its
port 8080 to a1. Everything is the child of one PID 1, and gone with it. Root only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsctl.isolation.forwarder import Forwarder
from opsctl.shells.interface import Result
from opsctl.shells.local import LocalShell
from tests.lab.namespaces import propagation
from tests.lab.sshd import until

CONTROLLER = "10.60.0.9"
"""Where we say that we are connected from."""

_INIT = r"""
set -e
mount -t tmpfs lab /run
for one in out gw a a1 b; do ip netns add $one; ip -n $one link set lo up; done
# Addresses that are good at once: nobody else has them.
for one in gw out a a1 b; do ip netns exec $one sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; done
ip -n gw link add za type bridge
for one in out a a1 b; do
    ip -n gw link add l-$one type veth peer name eth0 netns $one
    ip -n gw link set l-$one up
    ip -n $one link set eth0 up
done
ip -n gw link set l-a master za
ip -n gw link set l-a1 master za
ip -n gw link set za up
ip netns exec gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
address() { ip -n $1 addr add $3 dev $2 nodad 2>/dev/null || ip -n $1 addr add $3 dev $2; }
address gw l-out 10.60.0.1/24; address gw l-out fd60::1/64
address gw za 10.61.0.1/16; address gw za fd61::1/64
address gw l-b 10.62.0.1/24; address gw l-b fd62::1/64
address out eth0 10.60.0.2/24; address out eth0 10.60.0.9/24; address out eth0 fd60::2/64
address a1 eth0 10.61.250.1/16; address a1 eth0 fd61::a1/64
address b eth0 10.62.0.2/24; address b eth0 fd62::2/64
sed 's/^/addr add /; s/$/ dev eth0/' "$1/addresses" | ip -n a -batch -
for one in out=60 a=61 a1=61 b=62; do
    ip -n ${one%=*} route add default via 10.${one#*=}.0.1
    ip -6 -n ${one%=*} route add default via fd${one#*=}::1 2>/dev/null || :
done
ip netns exec gw nft -f "$1/foreign.nft"
echo ready >"$1/ready"
sleep infinity &
while :; do wait || :; done
"""

_FOREIGN = """
table inet fw {
    set seen { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1h } }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established accept
        ct state invalid drop
        counter
    }
    chain nat { type nat hook prerouting priority -100; policy accept; iifname "l-out" tcp dport 8080 dnat ip to 10.61.250.1:7; }
}
"""

# Echo servers, and connections that are kept and asked whether they still live; one JSON line each way.
_AGENT = r"""
import asyncio, json, sys

kept = {}
heard = bytearray()

async def echo(reader, writer):
    try:
        while data := await reader.read(100):
            heard.extend(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()

async def join(name, source, to):
    try:
        kept[name] = await asyncio.wait_for(asyncio.open_connection(*to, local_addr=(source, 0)), WAIT)
        return await tick(name)
    except asyncio.TimeoutError:
        return "silent"
    except OSError as error:
        return type(error).__name__

async def tick(name):
    reader, writer = kept[name]
    try:
        writer.write(b"x")
        return "alive" if await asyncio.wait_for(reader.read(1), WAIT) == b"x" else "ended"
    except asyncio.TimeoutError:
        return "silent"
    except OSError as error:
        return type(error).__name__

class Answers(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        heard.extend(data)
        self.transport.sendto(data, address)

class Stream(asyncio.DatagramProtocol):
    # A datagram every two milliseconds, and how many of them are never answered.

    def __init__(self):
        self.sent, self.back, self.on = 0, set(), True

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.back.add(data)

    async def go(self):
        while self.on:
            self.sent += 1
            self.transport.sendto(b"%d" % self.sent)
            await asyncio.sleep(0.002)

    async def lost(self):
        self.on = False
        for _ in range(50):
            if len(self.back) == self.sent:
                break
            await asyncio.sleep(0.05)
        return [self.sent, self.sent - len(self.back)]

WAIT = 0.4

async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, None, 7, backlog=1000)
    await loop.create_datagram_endpoint(Answers, local_addr=("0.0.0.0", 7))
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        if asked["do"] == "stream":
            _, stream = await loop.create_datagram_endpoint(Stream, remote_addr=tuple(asked["to"]))
            streaming = asyncio.ensure_future(stream.go())
            names = {}
        elif asked["do"] == "lost":
            names = {"lost": stream.lost()}
        elif asked["do"] == "heard":
            names = {"heard": asyncio.sleep(0, len(heard))}
        elif asked["do"] == "join":
            names = {name: join(name, source, (to, port)) for name, (source, to, port) in asked["who"].items()}
        else:
            names = {name: tick(name) for name in asked["who"]}
        print(json.dumps(dict(zip(names, await asyncio.gather(*names.values())))), flush=True)

asyncio.run(main())
"""


class There(LocalShell):
    """Commands in one of the namespaces, as if one were logged in there from ``CONTROLLER``. ``calls`` keeps what was run."""

    def __init__(self, lab: Forwarding, name: str) -> None:
        super().__init__()
        self.lab = lab
        self.netns = name
        self.calls: list[Sequence[Any]] = []

    def run(self, argv: Sequence[Any], **more: Any) -> Result:
        self.calls.append(tuple(argv))
        env = {"SSH_CONNECTION": f"{CONTROLLER} 40000 10.60.0.1 22", **(more.pop("env", None) or {})}
        return super().run(self.lab.inside(self.netns, argv), env=env, **more)


@dataclass
class Agent:
    """Serves port 7 of a namespace, and keeps connections of it by name."""

    process: subprocess.Popen[str]

    def join(self, who: Mapping[str, str], to: str, port: int = 7) -> dict[str, str]:
        """Connect, by name, from each address; how each did: ``alive``, ``silent``, or the name of the error."""
        return self.each({name: (source, to, port) for name, source in who.items()})

    def each(self, who: Mapping[str, tuple[str, str, int]]) -> dict[str, str]:
        """The same at once from and to different places: address, address, port."""
        return self._ask({"do": "join", "who": dict(who)})

    def tick(self, who: Sequence[str]) -> dict[str, str]:
        """Send a byte on each, and see whether it comes back."""
        return self._ask({"do": "tick", "who": list(who)})

    def heard(self) -> int:
        """How many bytes ever came to it, over TCP and UDP."""
        return self._ask({"do": "heard"})["heard"]

    def stream(self, to: str) -> None:
        """From now on send datagrams there, many a second."""
        self._ask({"do": "stream", "to": [to, 7]})

    def lost(self) -> tuple[int, int]:
        """Stop that; how many were sent, and how many of them never came back."""
        sent, lost = self._ask({"do": "lost"})["lost"]
        return sent, lost

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass
class Forwarding:
    """``with Forwarding(many=40) as lab:``; ``hosts`` are the addresses in ``a``."""

    many: int = 40
    place: Path = field(default_factory=Path)
    _init: subprocess.Popen[bytes] | None = None
    _one: int = 0
    _agents: dict[str, Agent] = field(default_factory=dict)

    @property
    def hosts(self) -> list[str]:
        return [f"10.61.{1 + number // 200}.{10 + number % 200}" for number in range(self.many)]

    def __enter__(self) -> Forwarding:
        assert os.geteuid() == 0, "network namespaces need root"
        self.place = Path(tempfile.mkdtemp(prefix="opsctl-forwarding-"))
        try:
            (self.place / "init").write_text(_INIT)
            (self.place / "foreign.nft").write_text(_FOREIGN)
            (self.place / "addresses").write_text("".join(f"{each}/16\n" for each in self.hosts))
            (self.place / "agent.py").write_text(_AGENT)
            argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
                    "--mount-proc", "--propagation", propagation(), "sh", str(self.place / "init"), str(self.place)]
            with (self.place / "log").open("wb") as log:
                self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            until(lambda: (self.place / "ready").exists() or self._init.poll() is not None)  # type: ignore[union-attr]
            assert self._init.poll() is None, (self.place / "log").read_text()
            children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
            self._one = int(children[0])
            self.log_in()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init is not None:
            self._init.kill()
            self._init.wait()
        for agent in self._agents.values():
            agent.process.wait()
            for stream in (agent.process.stdin, agent.process.stdout):
                with suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
        shutil.rmtree(self.place, ignore_errors=True)

    def log_in(self) -> None:
        """Have gw track the connection that ``There`` says it comes by, as it tracks every other."""
        self.run("gw", "conntrack", "-I", "-p", "tcp", "-s", CONTROLLER, "-d", "10.60.0.1", "--sport", "40000", "--dport", "22",
                 "--state", "ESTABLISHED", "-t", "3600", "-u", "ASSURED,SEEN_REPLY")

    def inside(self, name: str, argv: Sequence[Any]) -> list[Any]:
        return ["nsenter", "-t", str(self._one), "-m", "-n", "-p", "--root", "--wdns=/", "--", "ip", "netns", "exec", name, *argv]

    def run(self, name: str, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        done = subprocess.run(self.inside(name, argv), capture_output=True, text=True, check=False, input=stdin or "")
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def agent(self, name: str) -> Agent:
        if name not in self._agents:
            process = subprocess.Popen(self.inside(name, ["/usr/bin/python3", "-S", str(self.place / "agent.py")]), text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            self._agents[name] = Agent(process)
        return self._agents[name]

    def forwarder(self, name: str = "gw", **more: Any) -> tuple[Forwarder, list[There]]:
        """Who cuts off there, and the shells that it makes, one for each connection."""
        shells: list[There] = []

        def connect() -> There:
            shells.append(There(self, name))
            return shells[-1]

        return Forwarder(name, connect=connect, **more), shells

    def foreign(self) -> str:
        """The rules that are not ours, as ``nft -s`` lists them."""
        tables = self.run("gw", "nft", "list", "tables").split("table ")[1:]
        return "".join(self.run("gw", "nft", "-s", "list", "table", *one.split()) for one in tables if "opsctl" not in one)
