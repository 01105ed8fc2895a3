"""Hosts with real sshds, in namespaces of their own: network, mounts and processes, gone with the one that made them.

    this machine                    │ the lab: one PID 1, whose end is the end of everything in it
    10.213.N.1  ── veth ──────────── │ eth0   10.213.N.10 sshd (h0), .11 sshd (h1), …   one account, `ops`
                                    │        10.213.N.250 hears and never answers
                                    │ own /etc/passwd, shadow, group, sudoers; /tmp, /var/tmp, /run, … in memory

Each host has an address, a host key, an authorized_keys and a `bin` folder first on its PATH; they share accounts and
files. Nothing of this machine changes but for the one network interface. Root only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from opsctl.programs import find
from opsctl.shells.ssh_connection import Limits, Login, Target
from tests.lab.namespaces import propagation
from tests.lab.waiting import until

USER, UID = "ops", 2412
INSIDE = "/run/lab"

# As PID 1 it buries the orphans, as every init does; unshare's own /proc shows only what lives here.
_INIT = r"""
set -e
mount --bind "$1/etc/passwd" /etc/passwd
mount --bind "$1/etc/shadow" /etc/shadow
mount --bind "$1/etc/group" /etc/group
mount --bind "$1/etc/sudoers" /etc/sudoers
mount -t tmpfs lab /run
mkdir -p /run/sshd /run/lab
mount --bind "$1" /run/lab
mount -t tmpfs -o mode=1777 lab /dev/shm
mount -t tmpfs -o mode=1777 lab /tmp
mount -t tmpfs -o mode=1777 lab /var/tmp
hostname opsctl-lab
ip link set lo up
echo ready >/run/lab/ready
sleep infinity &
while :; do wait || :; done
"""

_CONFIG = """\
ListenAddress {address}:22
HostKey {folder}/key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PidFile none

SetEnv PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin
{more}
"""


@dataclass
class Host:
    """One sshd: ``key`` is its public key, ``folder`` what belongs to it, as this machine sees it."""

    name: str
    address: str
    key: str
    folder: Path
    server: subprocess.Popen[bytes] | None = None

    def put(self, name: str, script: str) -> None:
        """A program that comes first on this host's PATH."""
        program = self.folder / "bin" / name
        program.write_text(script)
        program.chmod(0o755)


@dataclass
class Lab:
    """``with Lab(hosts=3) as lab:``; ``login`` is the key that every host lets in."""

    count: int = 1
    sudoers: str = ""
    more: str = ""
    place: Path = field(default_factory=Path)
    hosts: list[Host] = field(default_factory=list)
    _init: subprocess.Popen[bytes] | None = None
    _link: str = ""
    _net: str = ""
    _one: int = 0

    def __enter__(self) -> Lab:
        assert os.geteuid() == 0, "network namespaces with an sshd in them need root"
        self.place = Path(tempfile.mkdtemp(prefix="opsctl-sshd-"))
        try:
            self._accounts()
            self._namespaces()
            login = self.place / "login"
            login_public = _key(login)
            for number in range(self.count):
                self.hosts.append(self._host(number, login_public))
            for host in self.hosts:
                self.start(host)
            for host in self.hosts:
                until(lambda host=host: b"Server listening" in (host.folder / "log").read_bytes())  # type: ignore[misc]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init is not None:
            self._init.kill()  # unshare, which takes PID 1 along, which takes everything along
            self._init.wait()
        if self._link:
            _ip(f"link delete {self._link}", check=False)
        for host in self.hosts:
            if host.server is not None:
                host.server.kill()
                host.server.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def silent(self) -> str:
        """An address that hears and never answers."""
        return f"{self._net}.250"

    @property
    def controller(self) -> str:
        return f"{self._net}.1"

    @property
    def home(self) -> Path:
        return self.place / "home"

    def target(self, number: int = 0, **more: object) -> Target:
        """A host as a configuration would know it."""
        host = self.hosts[number]
        known: dict[str, object] = {
            "name": host.name, "address": host.address, "user": USER, "host_key": host.key,
            "login": Login(self.place / "login"), "limits": Limits(connect=5, handshake=10, silence=30),
        }
        return Target(**{**known, **more})  # type: ignore[arg-type]

    def start(self, host: Host) -> None:
        folder = f"{INSIDE}/{host.name}"
        config = _CONFIG.format(address=host.address, folder=folder, more=self.more)
        (host.folder / "config").write_text(config)
        with (host.folder / "log").open("wb") as log:
            host.server = subprocess.Popen(
                self.inside([find("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", f"{folder}/config"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def inside(self, argv: Sequence[str]) -> list[str]:
        """``argv`` as it is run in the lab, as root."""
        assert self._init is not None
        # --root: where the tests run in a chroot, the namespace's own root is another one.
        return ["nsenter", "-t", str(self._one), "-m", "-n", "-p", "-u", "--root", "--wdns=/", "--", *argv]

    def run(self, *argv: str) -> str:
        done = subprocess.run(self.inside(argv), capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        return done.stdout

    def processes(self, word: str = "") -> dict[int, str]:
        """What runs in the lab and has the word in its command line, by its number on this machine."""
        space = os.readlink(f"/proc/{self._one}/ns/pid")
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "ns/pid") == space:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if word in line and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        found[int(entry.name)] = line
        return found

    def kill_sessions(self) -> None:
        """kill -9 to every sshd that serves a connection; the listening ones stay."""
        for pid, line in self.processes("sshd: ").items():
            if "-D -e -f" not in line:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def mute(self, number: int) -> None:
        """From now on nothing that the host sends arrives, and it hears everything."""
        self.run("ip", "rule", "add", "from", self.hosts[number].address, "blackhole")

    def files(self) -> list[str]:
        """Every file that a command of the account could have left behind."""
        places = [f"{INSIDE}/home", "/tmp", "/dev/shm", "/var/tmp", "/run/user"]
        script = 'for p; do if [ -d "$p" ]; then find "$p"; fi; done'
        return sorted(self.run("sh", "-c", script, "sh", *places).splitlines())

    def _accounts(self) -> None:
        etc = self.place / "etc"
        etc.mkdir()
        self.home.mkdir()
        os.chown(self.home, UID, UID)
        self.place.chmod(0o711)
        root = "root:x:0:0:root:/root:/bin/sh\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n"
        (etc / "passwd").write_text(f"{root}{USER}:x:{UID}:{UID}::{INSIDE}/home:/bin/sh\n")
        (etc / "shadow").write_text(f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n")
        (etc / "group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{UID}:\n")
        (etc / "sudoers").write_text(self.sudoers or "Defaults !lecture\n")
        (etc / "sudoers").chmod(0o440)

    def _namespaces(self) -> None:
        (self.place / "init").write_text(_INIT)
        argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--pid", "--uts", "--fork",
                "--kill-child", "--mount-proc", "--propagation", propagation(), "sh", str(self.place / "init"),
                str(self.place)]
        with (self.place / "init.log").open("wb") as log:
            self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          start_new_session=True)
        until(lambda: (self.place / "ready").exists() or self._init.poll() is not None)  # type: ignore[union-attr]
        assert self._init.poll() is None, (self.place / "init.log").read_text()
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._one = int(children[0])
        for _ in range(20):
            number = secrets.randbelow(250) + 2
            self._net, self._link = f"10.213.{number}", f"opslab{number}"
            if _ip(f"link add {self._link} type veth peer name eth0 netns {self._one}", check=False):
                break
        else:
            self._link = ""
            raise AssertionError("no network interface could be made")
        _ip(f"addr add {self._net}.1/24 dev {self._link}\nlink set {self._link} up")
        lines = ["link set eth0 up"]
        # The first address is the one that the lab calls others from, so not the silent one.
        lines += [f"addr add {self._net}.{10 + number}/24 dev eth0" for number in range(self.count)]
        lines += [f"addr add {self._net}.250/24 dev eth0", f"rule add from {self.silent} blackhole"]
        subprocess.run(self.inside(["ip", "-batch", "-"]), input="\n".join(lines), text=True, check=True,
                       capture_output=True)
        # What is not acknowledged is given up after seconds, not after a quarter of an hour.
        self.run("sh", "-c", "echo 3 >/proc/sys/net/ipv4/tcp_retries2")

    def _host(self, number: int, login: str) -> Host:
        folder = self.place / f"h{number}"
        (folder / "bin").mkdir(parents=True)
        key = _key(folder / "key")
        (folder / "authorized_keys").write_text(f"restrict {login}\n")
        return Host(f"h{number}", f"{self._net}.{10 + number}", key, folder)


def new_key(path: Path) -> str:
    """Make a login or host key; its public half, ``TYPE BASE64``."""
    return _key(path)


def _key(path: Path) -> str:
    private = Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(f"{path.name}.pub").write_text(f"{public}\n")
    return public


def _ip(batch: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", "-batch", "-"], input=batch, text=True, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.returncode == 0
