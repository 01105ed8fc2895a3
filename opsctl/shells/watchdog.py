"""A process that ends our commands when we are killed so hard that we cannot.

The kernel's parent-death signal would reach the command but not its children (``pg_dump`` below ``restic``),
and it fires when the *thread* that started the command ends. A pipe that closes with its last holder has
neither trouble: one small shell per process of ours waits at its other end, knowing which groups are alive.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress

# TERM first: restic then takes its lock away. The list is kept as " 12  34 " so that 1 is not found in 12.
_SCRIPT = """
trap '' HUP INT QUIT TERM
groups=
while read -r what id; do
  case $what in
    +) groups="$groups $id ";;
    -) case $groups in *" $id "*) groups="${groups%% $id *}${groups#* $id }";; esac;;
  esac
done
[ -n "$groups" ] || exit 0
for id in $groups; do kill -TERM "-$id"; done
sleep 2
for id in $groups; do kill -KILL "-$id"; done
"""

_lock = threading.Lock()
_pipe: int | None = None
_owner: int = 0


def guard(group: int, all_groups: Iterable[int]) -> None:
    """From now on the process group ends when this process does. ``all_groups``: every one that is alive."""
    with _lock:
        if _owner != os.getpid() or not _tell(f"+ {group}\n"):
            _begin()
            _tell("".join(f"+ {each}\n" for each in list(all_groups)))


def release(group: int) -> None:
    """The group has ended by itself; its number may become somebody else's."""
    with _lock:
        if _owner == os.getpid():
            _tell(f"- {group}\n")


def _tell(text: str) -> bool:
    if _pipe is None:
        return False
    try:
        os.write(_pipe, text.encode("ascii"))
    except BrokenPipeError:
        return False
    return True


def _begin() -> None:
    """Start the watching shell. After a fork the child gets one of its own."""
    global _pipe, _owner
    if _pipe is not None:
        with suppress(OSError):
            os.close(_pipe)
    reading, _pipe = os.pipe()
    _owner = os.getpid()
    try:
        os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _SCRIPT],
            {"PATH": "/usr/bin:/bin"},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
    finally:
        os.close(reading)
