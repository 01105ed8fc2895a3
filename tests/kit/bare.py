"""A bare Debian: a tree of files with apt and no Python, entered in a network that knows no other one."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsctl import apt
from tests.lab.isolation import Lab

KIT, PAPER = "/mnt/kit", "/mnt/paper"
_ENTER = """
set -e
mount --make-rprivate / 2>/dev/null || true
mount --bind {tree} {tree}
{binds}
mount -t proc proc {tree}/proc; mount -t tmpfs tmpfs {tree}/run
mount --rbind /dev {tree}/dev
cd {tree}; mkdir -p .old; pivot_root . .old; cd /; umount -l /.old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 OPSCTL_CLOCK=2026-12-12T05:00:00+05:30 sh -c {command}
"""


def debootstrap(tree: Path) -> None:
    """The smallest Debian of this machine's release, as its own package sources have it."""
    facts = apt.read_facts(())
    own = next(entry for entry in apt.entries(facts.sources) if facts.codename in entry.suites)
    subprocess.run(["debootstrap", "--variant=minbase", facts.codename, str(tree), own.uris.split()[0]], check=True,
                   stdout=subprocess.DEVNULL)
    for path in (tree / "etc" / "apt").rglob("sources*"):
        if path.is_file():
            path.unlink()
    (tree / "etc" / "resolv.conf").unlink(missing_ok=True)


class Bare:
    """The machine. ``binds``: what is plugged in, by where; all of it read-only but what ``writable`` names."""

    def __init__(self, tree: Path, lab: Lab, binds: Mapping[str, Path], writable: Sequence[str] = ()) -> None:
        self.tree = tree
        self.lab = lab
        self.binds = binds
        self.writable = writable

    def __call__(self, command: str, *, expect: int = 0, stdin: str = "") -> str:
        """Run a line of shell there; its processes end with it."""
        lines = []
        for inner, outer in self.binds.items():
            place = shlex.quote(f"{self.tree}{inner}")
            lines.append(f"mkdir -p {place}; mount --bind {shlex.quote(str(outer))} {place}")
            if inner not in self.writable:
                lines.append(f"mount -o remount,bind,ro {place}")
        script = _ENTER.format(tree=shlex.quote(str(self.tree)), binds="\n".join(lines), command=shlex.quote(command))
        network = f"--net=/proc/{self.lab.hosts['manager'].pid}/ns/net"
        done = subprocess.run(["nsenter", network, "--", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                              text=True, capture_output=True, input=stdin, timeout=600, check=False, env={"PATH": os.environ["PATH"]})
        assert done.returncode == expect, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr
