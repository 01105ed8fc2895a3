"""Debian's own cron with a private /etc/cron.d, /var/spool/cron and /var/log; and programs run in the same view."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.namespaces import propagation

# cron has no option for its folders, so it gets a mount namespace in which they are others. The tree is what
# `backup schedule --into` made. /run is empty there: no pid file of the machine's own cron, no lock of anybody.
_VIEW = """\
set -eu
root=$1
shift
mkdir -p "$root/etc/cron.d" "$root/var/log" "$root/empty"
: >"$root/empty/crontab"
mount --bind "$root/etc/cron.d" /etc/cron.d
mount --bind "$root/empty" /var/spool/cron
mount --bind "$root/empty/crontab" /etc/crontab
mount --bind "$root/var/log" /var/log
mount -t tmpfs none /run
exec "$@"
"""
#: What cron gives to what it starts, beside the lines of its file.
ENVIRONMENT = {"HOME": "/root", "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}


def _argv(root: Path, argv: Sequence[str]) -> list[str]:
    # The whole namespace dies with its first process, that one with unshare, and unshare with the test.
    own = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", propagation()]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *own, "sh", "-c", _VIEW, "view", str(root), *argv]


def inside(root: Path, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program as if ``root`` were this machine's cron folders and logs; ``env`` is all that it gets."""
    return subprocess.run(_argv(root, argv), env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)


@contextmanager
def cron(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running cron, which says itself into ``root/cron.said``. Everything it started is gone afterwards."""
    said = root / "cron.said"
    with said.open("wb") as out:
        running = subprocess.Popen(_argv(root, ["/usr/sbin/cron", "-f", "-L", "15"]), env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, start_new_session=True)
    try:
        yield running
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


__all__ = ["ENVIRONMENT", "cron", "inside"]
