"""A disk that can be plugged in and pulled out: a loop device with a file system in a file, mounted in a namespace of its own.

Labs of other tests copy what is mounted, and hold it; nothing copies this namespace. Root only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.namespaces import propagation
from tests.lab.waiting import until
from tests.machine import PACKAGE, Machine, Said


@dataclass
class Disk:
    """``with Disk(file, mount) as disk:`` is plugged in and mounted; gone afterwards, whatever was done with it, but for its file.

    ``beside``: another disk, in whose namespace it is mounted.
    """

    file: Path
    mount: Path
    label: str = "OFFLINE-A"
    beside: Disk | None = None
    megabytes: int = 64
    device: str = ""
    _init: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Disk:
        try:
            if self.beside is None:
                argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", propagation(), "sh", "-c", "echo in; exec sleep infinity"]
                self._init = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
                assert self._init.stdout is not None and self._init.stdout.readline() == b"in\n"
            if not self.file.exists():
                with open(self.file, "wb") as made:
                    made.truncate(self.megabytes << 20)
                self.run("mkfs.ext4", "-q", "-F", "-L", self.label, str(self.file))
            self.mount.mkdir(parents=True, exist_ok=True)
            self.plug_in()
            self.run("mount", self.device, str(self.mount))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init is not None:
            self._init.kill()  # with the namespace go its mounts
            self._init.wait()
            self._init.stdout.close()  # type: ignore[union-attr]
        elif self.device:
            subprocess.run(self.inside(["umount", self.device]), capture_output=True, check=False)
        self.pull_out()

    def inside(self, argv: Sequence[str]) -> list[str]:
        """``argv`` where the disk is mounted."""
        if self.beside is not None:
            return self.beside.inside(argv)
        assert self._init is not None
        return ["nsenter", "-t", str(self._init.pid), "-m", "--wdns=/", "--", *argv]

    def run(self, *argv: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(self.inside(argv), capture_output=True, check=False, input=stdin or b"")
        assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    @property
    def from_here(self) -> Path:
        """The mounted disk as this process reaches it, which stands outside."""
        assert self._init is not None
        return Path(f"/proc/{self._init.pid}/root{self.mount}")

    @property
    def uuid(self) -> str:
        return self.run("blkid", "--cache-file", "/dev/null", "-s", "UUID", "-o", "value", str(self.file))

    @property
    def mounted(self) -> str | None:
        """The options that it is mounted with; None where it is not."""
        with contextlib.suppress(AssertionError):
            return self.run("findmnt", "-n", "-o", "OPTIONS", "--mountpoint", str(self.mount))
        return None

    def tree(self, folder: str = "portal") -> dict[str, str]:
        """Every file below a folder on the disk, with its hash."""
        lines = self.run("sh", "-c", 'cd "$1" && find . -type f ! -path "./locks/*" -exec sha256sum {} +', "sh", str(self.mount / folder)).splitlines()
        return {path[2:]: digest for digest, path in (line.split("  ", 1) for line in lines)}

    def plug_in(self) -> None:
        self.device = self.run("losetup", "--show", "--find", str(self.file))

    def pull_out(self) -> None:
        """Take the device away."""
        if self.device:
            subprocess.run(["losetup", "--detach", self.device], capture_output=True, check=False)
            size = Path("/sys/class/block", os.path.basename(self.device), "size")
            until(lambda: size.read_text().strip() == "0")
            self.device = ""


class Plugged(Machine):
    """A machine whose commands run where a disk is mounted."""

    disk: Disk

    def __call__(self, *words: str, expect: int | None = None) -> Said:
        process = self.start(*words)
        out, err = process.communicate()
        said = Said(process.returncode, out, err)
        assert expect in (None, said.code), f"opsctl {' '.join(words)}: {said.code}\n{out}\n{err}"
        return said

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        env = {**os.environ, **self.environ, "PYTHONPATH": str(PACKAGE)}
        argv = self.disk.inside([sys.executable, "-m", "opsctl", "--config", str(self.etc), *words])
        return subprocess.Popen(argv, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
