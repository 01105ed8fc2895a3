"""Machines that can be cut off, each with a network, processes and an sshd of its own, and others that try to reach them.

    this machine                     │ the lab: one PID 1, whose end is the end of everything in it
    10.X.0.1, fd14:X::1 ─ opsisoX ── │ ─┬─ wire, a bridge: 10.X.0.0/17, fd14:X::/64
                                     │  ├─ manager   .0.2    another machine of ours
                                     │  ├─ outside   .0.3    an attacker; a witness
                                     │  ├─ h0 h1 …   .10.10  hosts: sshd, nft, sudo; `root` and `ops` log in
                                     │  │   ├─ h0/box        behind docker0 and real iptables-nft rules; 10.X.10.10:8080 is its :80
                                     │  │   └─ h0/child      a macvlan child of eth0: .64.10
                                     │  └─ gw        .0.4    forwards for the zones
                                     │      ├─ a0 a1 …       zone a on eth1: 10.X.128.10, fd14:X:1::a
                                     │      └─ b0 b1 …       zone b on eth2: 10.X.144.10, fd14:X:2::a

Every machine but this one is a `Host`: network, PID, mount and UTS namespaces, so that `lsns`, `/proc` and `/sys` show it
itself alone; /etc is a copy, /etc/opsctl and /etc/systemd/system are its own. Nothing of this machine changes but for one
network interface and the routes through it. Root only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsctl.model import hosts_access
from opsctl.model.hosts import Host as Configured
from opsctl.programs import find
from opsctl.shells.ssh_connection import Limits, Login, Target
from tests.lab import isolation_scripts
from tests.lab.namespaces import propagation
from tests.lab.sshd import UID, USER, new_key, until

INSIDE = "/mnt"
"""Where the machines see the lab's folder."""

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_ZONES = 8

@dataclass
class Host:
    """One machine: ``key`` is its public host key, ``folder`` what belongs to it, as this machine sees it."""

    name: str
    address: str
    address6: str
    folder: Path
    zone: str | None = None
    key: str = ""
    pid: int = 0
    server: subprocess.Popen[bytes] | None = None

    def put(self, name: str, script: str) -> None:
        """A program that comes first on the PATH of who logs in; ``drop`` takes it away."""
        program = self.folder / "bin" / name
        program.write_text(script)
        program.chmod(0o755)

    def drop(self, name: str) -> None:
        (self.folder / "bin" / name).unlink(missing_ok=True)


@dataclass
class Lab:
    """``with Lab(2, zones={"a": 2}, box=["h0"], child=["h0"]) as lab:``; ``lab.login`` is a key that all let in.

    ``more`` are lines for every sshd_config. ``gw`` is there where there are zones.
    """

    count: int = 1
    zones: Mapping[str, int] = field(default_factory=dict)
    box: Collection[str] = ()
    child: Collection[str] = ()
    more: str = ""
    sudoers: str = ""
    place: Path = field(default_factory=Path)
    hosts: dict[str, Host] = field(default_factory=dict)
    number: int = 0
    _init: subprocess.Popen[bytes] | None = None
    _one: int = 0

    def __enter__(self) -> Lab:
        assert os.geteuid() == 0, "network namespaces with sshds in them need root"
        assert len(self.zones) <= _ZONES
        self.place = Path(tempfile.mkdtemp(prefix="opsctl-iso-"))
        try:
            self._prepare()
            self._start_all()
            self._connect()
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self.start, self.hosts.values()))
            for name in self.box:
                self.run(name, ["sh", "-c", isolation_scripts.BOX])
            for name in self.child:
                host = self.hosts[name]
                self.run(name, ["sh", "-c", isolation_scripts.CHILD.format(address=host.address.replace(".10.", ".64."), address6=f"{host.address6}:c")])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init is not None:
            self._init.kill()  # unshare, which takes PID 1 along, which takes everything along
            self._init.wait()
        if self.number:
            _ip(f"link delete opsiso{self.number}", check=False)
        for host in self.hosts.values():
            if host.server is not None:
                host.server.kill()
                host.server.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def login(self) -> Path:
        return self.place / "login"

    @property
    def address(self) -> str:
        """This machine's, as the hosts see it."""
        return f"10.{self.number}.0.1"

    @property
    def address6(self) -> str:
        return f"fd14:{self.number}::1"

    @property
    def silent(self) -> str:
        """An address where nobody is."""
        return f"10.{self.number}.0.250"

    def of_zone(self, zone: str) -> list[Host]:
        return [host for host in self.hosts.values() if host.zone == zone]

    def target(self, name: str, **more: Any) -> Target:
        """A host as a configuration would know it; ``user="ops", sudo=True`` for the other account."""
        host = self.hosts[name]
        known: dict[str, Any] = {
            "name": name, "address": host.address, "user": "root", "host_key": host.key, "login": Login(self.login),
            "limits": Limits(connect=3, handshake=10, silence=30),
        }
        return Target(**{**known, **more})

    def config(self, *names: str, user: str = "root", **more: Mapping[str, str]) -> str:
        """``zones:`` and ``hosts:`` for a configuration: these machines, or all hosts; ``h0={"port": "2222"}`` adds keys.

        Hosts are of zone ``main`` and cut off by their own rules; those of the lab's zones by ``gw``.
        """
        wanted = names or tuple(name for name, host in self.hosts.items() if name[0] == "h" or host.zone or name == "gw")
        lines = ["zones:", "  main: {title: hosts that are logged into}"]
        lines += [f"  {zone}: {{title: behind gw}}" for zone in self.zones]
        lines.append("hosts:")
        for name in wanted:
            host = self.hosts[name]
            entry = {"address": host.address, "user": user, "become": "none" if user == "root" else "sudo", "host_key": host.key}
            if host.zone:
                entry |= {"zone": host.zone, "isolation": "gateway", "gateway": "gw"}
            elif name[0] == "h":
                entry |= {"zone": "main", "isolation": "nftables"}
            entry |= more.get(name, {})
            lines.append(f"  {name}: {{{', '.join(f'{key}: {value}' for key, value in entry.items())}}}")
        return "\n".join(lines) + "\n"

    def configure(self, etc: Path, text: str | None = None) -> None:
        """Write ``hosts.yaml`` into a configuration directory, and the login keys that the hosts let in."""
        (etc / "hosts.yaml").write_text(self.config() if text is None else text)
        (etc / "keys").mkdir(exist_ok=True, mode=0o700)
        for purpose in ("ssh-backup", "ssh-isolation"):
            key = etc / "keys" / purpose
            key.write_bytes(self.login.read_bytes())
            key.chmod(0o600)

    def run(self, space: str, argv: Sequence[str], *, check: bool = True, stdin: str = "") -> str:
        """Run as root on a machine (``h0``), or in a network namespace there (``h0/box``); standard output."""
        done = subprocess.run(self.inside(space, argv), capture_output=True, text=True, check=False, input=stdin)
        assert not check or done.returncode == 0, f"{space}: {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def here(self, argv: Sequence[str]) -> None:
        """Run on this machine, to change our end of the cable."""
        subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    def cable(self, one: str, other: str, name: str) -> None:
        """One more cable between two machines; ``name`` is what both call their end."""
        self.here(["nsenter", "-t", str(self.hosts[one].pid), "-n", "--", "ip", "link", "add", name, "type", "veth", "peer", "name",
                   name, "netns", str(self.hosts[other].pid)])

    def inside(self, space: str, argv: Sequence[str]) -> list[str]:
        """``argv`` as it is run there."""
        name, _, deeper = space.partition("/")
        within = ["ip", "netns", "exec", deeper] if deeper else []
        # --root: where the tests run in a chroot, the namespace's own root is another one.
        return ["nsenter", "-t", str(self.hosts[name].pid), "-m", "-n", "-p", "-u", "--root", "--wdns=/", "--", *within, *argv]

    @contextmanager
    def within(self, space: str) -> Iterator[None]:
        """Sockets that this thread makes are of that network, and stay so: ``with lab.within("outside"): socket.create_…``."""
        name, _, deeper = space.partition("/")
        proc = Path(f"/proc/{self.hosts[name].pid}")
        with open(f"/proc/self/task/{threading.get_native_id()}/ns/net", "rb") as home, \
                (proc / "root/run/netns" / deeper if deeper else proc / "ns/net").open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def start(self, host: Host) -> None:
        """Start its sshd and wait until it listens. ``stop`` ends it; connections that are open stay."""
        (host.folder / "config").write_text(isolation_scripts.SSHD.format(folder=f"{INSIDE}/{host.name}", more=self.more))
        with (host.folder / "log").open("wb") as log:
            host.server = subprocess.Popen(
                self.inside(host.name, [find("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", f"{INSIDE}/{host.name}/config"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        until(lambda: b"Server listening" in (host.folder / "log").read_bytes())

    def stop(self, host: Host) -> None:
        assert host.server is not None
        for child in _children(host.server.pid):  # nsenter only waits for it
            os.kill(child, signal.SIGKILL)
        host.server.kill()
        host.server.wait()

    def _prepare(self) -> None:
        """Everything that the machines read when they start."""
        self.place.chmod(0o711)
        for folder in ("etc", "home"):
            (self.place / folder).mkdir()
        os.chown(self.place / "home", UID, UID)
        etc = self.place / "etc"
        root = ("root:x:0:0:root:/root:/bin/sh\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n"
                "postgres:x:105:105::/:/bin/sh\nmysql:x:106:106::/:/bin/sh\n")
        (etc / "passwd").write_text(f"{root}{USER}:x:{UID}:{UID}::{INSIDE}/home:/bin/sh\n")
        (etc / "shadow").write_text(f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n")
        (etc / "group").write_text(f"root:x:0:\nnogroup:x:65534:\npostgres:x:105:\nmysql:x:106:\n{USER}:x:{UID}:\n")
        (etc / "sudoers").write_text(self.sudoers or prepared())
        (self.place / "init").write_text(isolation_scripts.INIT)
        (self.place / "machine").write_text(isolation_scripts.MACHINE)
        for _ in range(20):
            self.number = secrets.randbelow(50) + 200
            if _ip(f"link add opsiso{self.number} type veth peer name opsisop{self.number}", check=False):
                break
        else:
            self.number = 0
            raise AssertionError("no network interface could be made")
        login = new_key(self.login)
        self._lay_out()
        for host in self.hosts.values():
            for folder in ("bin", "opsctl", "units"):
                (host.folder / folder).mkdir(parents=True)
            host.key = new_key(host.folder / "key")
            (host.folder / "authorized_keys").write_text(f"restrict {login}\n")
            (host.folder / "network").write_text("\n".join(self._network(host)) + "\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in self.hosts.values()))
        (self.place / "names").write_text("".join(f"{name}\n" for name in self.hosts))
        (self.place / "links").write_text("\n".join(self._links()) + "\n")

    def _lay_out(self) -> None:
        net, net6 = f"10.{self.number}", f"fd14:{self.number}"

        def add(name: str, address: str, address6: str, zone: str | None = None) -> None:
            self.hosts[name] = Host(name, address, address6, self.place / name, zone)

        for number, name in enumerate(("manager", "outside", *(("gw",) if self.zones else ()))):
            add(name, f"{net}.0.{number + 2}", f"{net6}::{number + 2}")
        for number in range(self.count):
            add(f"h{number}", f"{net}.{10 + number // 200}.{10 + number % 200}", f"{net6}::{number + 10:x}:1")
        for place, (zone, count) in enumerate(self.zones.items()):
            for number in range(count):
                add(f"{zone}{number}", f"{net}.{128 + 16 * place}.{10 + number}", f"{net6}:{place + 1}::{number + 10:x}", zone)

    def _links(self) -> Iterator[str]:
        """For the lab's own `ip -batch`: every machine's namespace and cables."""
        yield from (f"netns add {name}" for name in self.hosts)
        for number, (name, host) in enumerate(self.hosts.items()):
            if host.zone is None:
                yield f"link add p{number} type veth peer name eth0 netns {name}"
                yield f"link set p{number} master wire up"
        for place, zone in enumerate(self.zones):
            yield f"link add zone{place} type bridge"
            yield f"link set zone{place} up"
            yield f"link add z{place} type veth peer name eth{place + 1} netns gw"
            yield f"link set z{place} master zone{place} up"
            for number, host in enumerate(self.of_zone(zone)):
                yield f"link add z{place}p{number} type veth peer name eth0 netns {host.name}"
                yield f"link set z{place}p{number} master zone{place} up"

    def _network(self, host: Host) -> Iterator[str]:
        """For a machine's `ip -batch`."""
        net, net6 = f"10.{self.number}", f"fd14:{self.number}"
        yield "link set lo up"
        yield f"addr add {host.address}/{20 if host.zone else 17} dev eth0"
        yield f"addr add {host.address6}/64 dev eth0 nodad"
        yield "link set eth0 up"
        if host.zone:
            place = list(self.zones).index(host.zone)
            yield f"route add default via {net}.{128 + 16 * place}.1"
            yield f"route add ::/0 via {net6}:{place + 1}::1"
        elif host.name == "gw":
            for place in range(len(self.zones)):
                yield f"addr add {net}.{128 + 16 * place}.1/20 dev eth{place + 1}"
                yield f"addr add {net6}:{place + 1}::1/64 dev eth{place + 1} nodad"
                yield f"link set eth{place + 1} up"
        elif self.zones:
            yield f"route add {net}.128.0/17 via {net}.0.4"
            yield from (f"route add {net6}:{place + 1}::/64 via {net6}::4" for place in range(len(self.zones)))

    def _start_all(self) -> None:
        argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child",
                "--mount-proc", "--propagation", propagation(), "sh", str(self.place / "init"), str(self.place), propagation()]
        with (self.place / "init.log").open("wb") as log:
            self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def all_there() -> bool:
            assert self._init is not None and self._init.poll() is None, (self.place / "init.log").read_text()
            for host in self.hosts.values():
                log = host.folder / "init.log"
                assert not log.exists() or not log.read_text(), f"{host.name}: {log.read_text()}"
            return all((host.folder / "ready").exists() for host in self.hosts.values())

        until(all_there)
        self._one = _children(self._init.pid)[0]
        for outer in _children(self._one):
            line = Path(f"/proc/{outer}/cmdline").read_bytes().decode().split("\0")
            if line[0] == "unshare":
                self.hosts[line[-2]].pid = _children(outer)[0]
        if self.zones:
            self.run("gw", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"])

    def _connect(self) -> None:
        """This machine's end of the cable."""
        link, net, net6 = f"opsiso{self.number}", f"10.{self.number}", f"fd14:{self.number}"
        _ip(f"link set opsisop{self.number} netns {self._one}")
        subprocess.run(["nsenter", "-t", str(self._one), "-n", "--", "ip", "link", "set", f"opsisop{self.number}", "master",
                        "wire", "up"], check=True, capture_output=True)
        lines = [f"addr add {self.address}/17 dev {link}", f"addr add {self.address6}/64 dev {link} nodad", f"link set {link} up"]
        if self.zones:
            lines.append(f"route add {net}.128.0/17 via {net}.0.4 dev {link}")
            lines += [f"route add {net6}:{place + 1}::/64 via {net6}::4 dev {link}" for place in range(len(self.zones))]
        _ip("\n".join(lines))


def prepared() -> str:
    """The sudoers file that `opsctl hosts prepare` prints for a host that is cut off by its own rules."""
    host = Configured(address="10.0.0.1", user=USER, become="sudo", isolation="nftables")
    return "\n".join(["Defaults !lecture", *hosts_access.sudoers(host), ""])


def reached(lab: Lab, space: str, address: str, port: int, seconds: float = 1.0) -> bool:
    """Whether a TCP connection can be made from there."""
    return bool(reachable(lab, space, [(address, port)], seconds))


def reachable(lab: Lab, space: str, places: Sequence[tuple[str, int]], seconds: float = 0.4) -> list[tuple[str, int]]:
    """To which of these addresses and ports a TCP connection can be made from there; all are tried at once."""
    found: list[tuple[str, int]] = []
    with selectors.DefaultSelector() as waiting, ExitStack() as made, lab.within(space):
        for place in places:
            call = made.enter_context(socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET))
            call.setblocking(False)
            if call.connect_ex(place) in (0, errno.EINPROGRESS):
                waiting.register(call, selectors.EVENT_WRITE, place)
        deadline = time.monotonic() + seconds
        while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                waiting.unregister(key.fileobj)
                if not key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # type: ignore[union-attr]
                    found.append(key.data)
    return found


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


_enter_call: Callable[..., int] = ctypes.CDLL(None, use_errno=True).setns


def _enter(descriptor: int) -> None:
    if _enter_call(descriptor, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(batch: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", "-batch", "-"], input=batch, text=True, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.returncode == 0
