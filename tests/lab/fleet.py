"""Hundreds of hosts on one bridge, each with a network, processes, an sshd and an nft of its own, made in seconds.

    this machine                     │ the fleet: one PID 1, whose end is the end of everything in it
    198.18.K.1, fd12:K::1 ─ opsfl… ─ │ ─ wire, a bridge ─┬─ f0    198.18.K.16, fd12:K::10   sshd as PID 1 of its own
                                     │                   ├─ f1    198.18.K.17, fd12:K::11
                                     │                   └─ …     up to 900

Each host sees itself alone: `ip`, `ss`, `lsns` and `/proc` show nothing of the others. Everybody knows everybody's hardware
address, so that the bridge need not ask each of hundreds. Nothing of this machine changes but for one network interface. Root only.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opsctl.programs import find
from tests.lab.namespaces import propagation
from tests.lab.sshd import new_key, until

MOST = 900
"""Hosts that one fleet can have."""

_INIT = r"""
set -e
place=$1
mount --bind "$place" /mnt
mount --bind /mnt/etc/passwd /etc/passwd
mount --bind /mnt/etc/shadow /etc/shadow
mount --bind /mnt/etc/group /etc/group
mount -t tmpfs fleet /run
mkdir -p /run/sshd /run/home /run/nft
touch /run/wire
mount --bind /proc/self/ns/net /run/wire
ip link set lo up
ip link add wire type bridge ageing_time 100000
ip link set wire up
while read -r name; do
    unshare --mount --net --pid --uts --fork --kill-child --mount-proc --propagation "$2" sh /mnt/machine "$name" &
done </mnt/names
echo ready >/mnt/ready
sleep infinity &
while :; do wait || :; done
"""

_MACHINE = r"""
set -e
exec >"/mnt/hosts/$1/log" 2>&1
mount -t sysfs fleet /sys
hostname "$1"
ip -batch "/mnt/hosts/$1/network"
if [ -e "/mnt/hosts/$1/no-nft" ]; then
    mkdir /run/nft/above /run/nft/work
    mknod /run/nft/above/nft c 0 0
    mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/nft/above,workdir=/run/nft/work overlay /usr/sbin
fi
exec {sshd} -D -e -f /dev/null -h "/mnt/hosts/$1/key" -o AuthorizedKeysFile=/mnt/login.pub -o StrictModes=no -o UsePAM=no \
    -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o UseDNS=no -o PidFile=none
"""


@dataclass(frozen=True)
class Member:
    """One host: ``key`` is the public key that it shows, ``port`` its port on the bridge."""

    name: str
    address: str
    address6: str
    key: str
    mac: str
    folder: Path

    @property
    def port(self) -> str:
        return f"p{self.name[1:]}"


@dataclass
class Fleet:
    """``with Fleet(12) as fleet:``; ``login`` is the key that lets root in everywhere.

    ``without_nft``: numbers of hosts where there is no nft.
    """

    count: int = 12
    without_nft: Collection[int] = ()
    place: Path = field(default_factory=Path)
    hosts: list[Member] = field(default_factory=list)
    _init: subprocess.Popen[bytes] | None = None
    _link: str = ""
    _net: int = 0
    _one: int = 0

    def __enter__(self) -> Fleet:
        assert os.geteuid() == 0, "network namespaces with an sshd in them need root"
        assert self.count <= MOST
        self.place = Path(tempfile.mkdtemp(prefix="opsctl-fleet-"))
        try:
            self._connect()
            self._prepare()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init is not None:
            self._init.kill()  # unshare, which takes PID 1 along, which takes everything along
            self._init.wait()
            until(lambda: not Path(f"/proc/{self._one}").exists())
        if self._link:
            _ip([f"link delete {self._link}"], check=False)
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def login(self) -> Path:
        return self.place / "login"

    @property
    def controller(self) -> str:
        """The address that the hosts see this machine at."""
        return f"{self._base + 1}"

    def silence(self, numbers: Iterable[int]) -> None:
        """From now on nothing reaches these hosts, and nothing says so."""
        self._on_wire([f"link set {self.hosts[number].port} down" for number in numbers])

    def inside(self, number: int, argv: Sequence[str]) -> list[str]:
        """``argv`` as it is run on a host, as root."""
        # The host's own PID 1 is the only child of an unshare, whose command line ends with its name.
        return ["nsenter", "-t", str(self._pids()[self.hosts[number].name]), "-m", "-n", "-p", "-u", "--wdns=/", "--", *argv]

    def everywhere(self, script: str) -> None:
        """Run a line of shell in the network of every host."""
        text = "".join(f"nsenter -t {pid} -n -- sh -c '{script}'\n" for pid in self._pids().values())
        subprocess.run(["sh", "-e"], input=text, text=True, check=True, capture_output=True)

    def run(self, number: int, *argv: str) -> str:
        done = subprocess.run(self.inside(number, argv), capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        return done.stdout

    def configure(self, etc: Path, state: Path, *, changed: Collection[int] = ()) -> None:
        """Write a configuration that knows all hosts, in the zone `fleet`. Of ``changed`` ones another key is pinned."""
        keys = etc / "keys"
        keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(self.login, keys / "ssh-isolation")
        (keys / "ssh-isolation").chmod(0o600)
        lines = []
        for number, host in enumerate(self.hosts):
            pinned = self.hosts[number - 1].key if number in changed else host.key
            lines.append(f"  {host.name}: {{address: {host.address}, user: root, zone: fleet, isolation: nftables, host_key: {pinned}}}\n")
        (etc / "opsctl.yaml").write_text(f"state: {state}\n")
        (etc / "hosts.yaml").write_text("zones:\n  fleet: {title: everything}\nhosts:\n" + "".join(lines))

    @property
    def _base(self) -> ipaddress.IPv4Address:
        return ipaddress.IPv4Address("198.18.0.0") + self._net * 1024

    def _address6(self, last: int) -> str:
        return f"fd12:{self._net:x}::{last:x}"

    def _connect(self) -> None:
        """An interface on this machine, down until the fleet is there."""
        for _ in range(20):
            self._net = secrets.randbelow(128)
            self._link = f"opsfl{self._net}"
            if _ip([f"link add {self._link} address 02:12:00:00:00:01 type veth peer name up{self._net}"], check=False):
                return
        self._link = ""
        raise AssertionError("no network interface could be made")

    def _prepare(self) -> None:
        etc = self.place / "etc"
        etc.mkdir()
        (etc / "passwd").write_text("root:x:0:0:root:/run/home:/bin/sh\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n")
        (etc / "shadow").write_text("root:*:19000::::::\nsshd:*:19000::::::\n")
        (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (self.place / "machine").write_text(_MACHINE.format(sshd=find("sshd") or "/usr/sbin/sshd"))
        (self.place / "init").write_text(_INIT)
        new_key(self.login)
        for number in range(self.count):
            self.hosts.append(self._member(number))
        (self.place / "names").write_text("".join(f"{host.name}\n" for host in self.hosts))

    def _member(self, number: int) -> Member:
        folder = self.place / "hosts" / f"f{number}"
        folder.mkdir(parents=True)
        host = Member(f"f{number}", f"{self._base + 16 + number}", self._address6(16 + number), new_key(folder / "key"),
                      f"02:12:00:01:{number >> 8:02x}:{number & 255:02x}", folder)
        if number in self.without_nft:
            (folder / "no-nft").touch()
        (folder / "network").write_text("\n".join([
            "link set lo up",
            f"link add eth0 address {host.mac} type veth peer name {host.port} netns /run/wire",
            f"addr add {host.address}/22 dev eth0", f"addr add {host.address6}/64 dev eth0 nodad", "link set eth0 up",
            f"neigh add {self.controller} lladdr 02:12:00:00:00:01 dev eth0 nud permanent",
            f"neigh add {self._address6(1)} lladdr 02:12:00:00:00:01 dev eth0 nud permanent", ""]))
        return host

    def _start(self) -> None:
        argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child",
                "--mount-proc", "--propagation", propagation(), "sh", str(self.place / "init"), str(self.place), propagation()]
        with (self.place / "init.log").open("wb") as log:
            self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        until(lambda: (self.place / "ready").exists() or self._init.poll() is not None)  # type: ignore[union-attr]
        assert self._init.poll() is None, (self.place / "init.log").read_text()
        self._one = int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])
        _ip([f"link set up{self._net} netns {self._one}", f"addr add {self.controller}/22 dev {self._link}",
             f"addr add {self._address6(1)}/64 dev {self._link} nodad", f"link set {self._link} up",
             *(f"neigh add {address} lladdr {host.mac} dev {self._link} nud permanent"
               for host in self.hosts for address in (host.address, host.address6))])
        logs = [host.folder / "log" for host in self.hosts]
        for log_file in logs:
            until(lambda log_file=log_file: log_file.exists() and b"Server listening on ::" in log_file.read_bytes())  # type: ignore[misc]
        self._on_wire([f"link set up{self._net} master wire up", *(f"link set {host.port} master wire up" for host in self.hosts)])
        self._on_wire([f"fdb replace {host.mac} dev {host.port} master static" for host in self.hosts]
                      + [f"fdb replace 02:12:00:00:00:01 dev up{self._net} master static"], "bridge")

    def _on_wire(self, lines: Iterable[str], program: str = "ip") -> None:
        _ip(lines, program, before=["nsenter", "-t", str(self._one), "-n", "--"])

    def _pids(self) -> dict[str, int]:
        """The PID 1 of each host, as this machine sees it."""
        found = {}
        for pid in Path(f"/proc/{self._one}/task/{self._one}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if words[0] == "unshare":
                found[words[-2]] = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return found


def _ip(lines: Iterable[str], program: str = "ip", *, before: Sequence[str] = (), check: bool = True) -> bool:
    done = subprocess.run([*before, program, "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.returncode == 0
