"""A clean room's shell: commands in namespaces that lead nowhere, which end with us."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.shells.clean_room_scripts import MAKE, OF_ETC, TRY
from opsctl.shells.interface import Result, Session, Shell, Word
from opsctl.shells.local import LocalShell, how_it_ended, last_words, program
from opsctl.shells.own_addresses import own_addresses

#: What root may still do inside: own and read what lies there, and become another user; nothing that reaches out.
_RIGHTS = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap")
_MOST_SOCKETS = 2000
_ANSWER = 30.0  # seconds for what tries to get out, which is answered at once where there is no way
_NAME = "a.root-servers.net"


class CleanRoomShell(Shell):
    """Commands in namespaces of their own: no network but loopback, only the system's programs and ``place`` to see.

    ``place``: a directory of ours with ``files`` and ``root`` in it, which is found inside under the same path. ``shown``: more
    paths that can be read inside. The first command makes the namespaces, and proves that they lead nowhere. They last until
    ``close``, or until this process ends, however; then everything ends that was started inside.
    """

    here = False

    def __init__(self, place: Path, shown: Sequence[str] = ()) -> None:
        self.name = f"the clean room {place}"
        self.place = place
        self.shown = tuple(shown)
        self._keeper: Session | None = None
        self._prefix: list[str] = []
        self._guard = threading.Lock()

    def find(self, *names: str) -> str:
        return LocalShell().find(*names)

    def run(
        self,
        argv: Sequence[Word],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        accept: Collection[int] | None = (0,),
        on_line: Callable[[bytes], None] | None = None,
        cwd: str | None = None,
        give_up: Callable[[], bool] | None = None,
        on_data: Callable[[bytes], None] | None = None,
    ) -> Result:
        """As ``Shell.run`` promises. Raises also SafetyRefusal where there can be no clean room here, or it leaks."""
        moved = ["sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", cwd] if cwd is not None else []
        result = LocalShell().run([*self.prefix(), *moved, *argv], stdin=stdin, env=self._surroundings(env), timeout=timeout,
                                  accept=None, on_line=on_line, give_up=give_up, on_data=on_data)
        if accept is not None and result.code not in accept:
            if result.code == 127:
                raise ProgramFailed(f"{program(argv)} is not to be found in {self.name}",
                                    hint="clean_room: {shown: […]} names what can be read there beside /usr")
            raise ProgramFailed(f"{program(argv)} in {self.name} {how_it_ended(result.code)}: "
                                f"{last_words(result.stderr, result.stdout)}", details={"exit_code": result.code})
        return Result(tuple(argv), result.code, result.stdout, result.stderr, result.seconds)

    def check(self) -> None:
        LocalShell().check()

    def open(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> Session:
        return LocalShell().open([*self.prefix(), *argv], env=self._surroundings(env))

    def prefix(self) -> list[str]:
        """The words that a command of this machine stands behind to run inside. Makes the room where it is not made."""
        with self._guard:
            if self._keeper is None:
                self._make()
                try:
                    refuse_a_way_out(self._ask, self.name)
                except BaseException:
                    self._end()
                    raise
            return list(self._prefix)

    def as_owner(self) -> list[str]:
        """The words behind which a command inside is not taken for root's, where we are an ordinary user."""
        user, group = os.geteuid(), os.getegid()
        return ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"] if user else []

    def close(self) -> None:
        """End everything that was started inside. A later command makes the room anew, in the same directory."""
        with self._guard:
            self._end()

    def _ask(self, script: str, question: bytes) -> bytes:
        argv = [*self._prefix, os.path.realpath(sys.executable), "-I", "-S", "-c", script]
        return LocalShell().run(argv, stdin=question, env=self._surroundings(None), timeout=_ANSWER).stdout

    def _surroundings(self, env: Mapping[str, str] | None) -> dict[str, str]:
        return {"HOME": "/tmp", "TMPDIR": "/tmp", "XDG_RUNTIME_DIR": "/run", **(env or {})}

    def _make(self) -> None:
        for folder in ("files", "root"):
            (self.place / folder).mkdir(mode=0o700, exist_ok=True)
        user = ["--user", "--map-root-user"] if os.geteuid() else []
        argv = ["unshare", *user, "--mount", *_propagation(self.place), "--net", "--pid", "--ipc", "--fork", "--kill-child=KILL", "--",
                "/bin/sh", "-c", MAKE, "clean-room", str(self.place), " ".join(OF_ETC), *self._to_show()]
        keeper = LocalShell().open(argv)
        made = re.fullmatch(rb"(\d+) (pivoted|chrooted)\n", keeper.stdout.readline())
        if made is None:
            result = keeper.close()
            LocalShell().check()
            raise _impossible(result)
        number = made[1].decode()
        kinds = [*(["--user"] if user else []), "--mount", "--net", "--pid", "--ipc"]
        # Whoever is root by a mapping alone needs the last one to become an ordinary user again.
        rights = ",".join(f"+{one}" for one in (*_RIGHTS, *(["setfcap"] if user else [])))
        self._prefix = ["nsenter", f"--target={number}", *kinds, *(["--preserve-credentials"] if user else []), "--root", "--wd", "--",
                        "setpriv", f"--bounding-set=-all,{rights}", "--inh-caps=-all", "--no-new-privs", "--"]
        self._keeper = keeper

    def _end(self) -> None:
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            keeper.close()

    def _to_show(self) -> list[str]:
        """Beside the system: what was asked for, and the Python that looks around inside."""
        wanted = [*self.shown, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))]
        system = ("/usr", "/bin", "/sbin", "/lib", "/etc")
        hidden = [path for path in map(os.path.normpath, wanted) if path != "/" and not _below(path, system)]
        return [path for number, path in enumerate(hidden) if not _below(path, hidden[:number])]


def _below(path: str, folders: Sequence[str]) -> bool:
    return path.startswith(tuple(f"{one}/" for one in folders)) or path in folders


def refuse_a_way_out(ask: Callable[[str, bytes], bytes], name: str) -> None:
    """SafetyRefusal where something inside reaches out. ``ask`` runs a script of Python inside, and feeds it.

    Tried are a TCP server of ours on each of this machine's addresses, its name servers, a name, an interface, and every
    socket in this machine's file system and beside it, as of a database or of a container's daemon.
    """
    with _listening() as calls:
        question = {"tcp": calls, "udp": _name_servers(), "names": [_NAME], "unix": _sockets()}
        found = json.loads(ask(TRY, json.dumps(question).encode()))
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise SafetyRefusal(f"{name} has a way out: {', '.join(found[:5])}{more}; nothing was restored into it",
                            hint="what is named there has to be out of its sight: look at clean_room: in the configuration",
                            details={"ways_out": found})


@contextmanager
def _listening() -> Iterator[list[tuple[str, int]]]:
    """Servers of ours on every address of this machine, to be called in vain."""
    found: list[tuple[str, int]] = []
    with ExitStack() as stack:
        for address in own_addresses():
            server = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
            with suppress(OSError):  # an address that went meanwhile, or one that needs its interface named
                server.bind((address, 0))
                server.listen(8)
                found.append((address, server.getsockname()[1]))
        yield found


def _name_servers() -> list[str]:
    with suppress(OSError):
        return re.findall(r"^nameserver\s+([0-9A-Fa-f.:]+)\s*$", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    return []


def _sockets() -> list[str]:
    """Where others of this machine listen in its file system, or under a name of the kernel's (``@NAME``)."""
    with open("/proc/net/unix", "rb") as lines:
        listed = [line.split(None, 7) for line in lines]
    paths = {os.fsdecode(words[7].rstrip(b"\n")) for words in listed[1:] if len(words) == 8}
    return sorted(path for path in paths if path.startswith(("/", "@")))[:_MOST_SOCKETS]


def _propagation(place: Path) -> list[str]:
    """What keeps mounts made inside from showing outside; in a chroot, whose root is no mount point, it has to be so already."""
    tried = LocalShell().run(["unshare", "--mount", "true"], accept=None) if os.geteuid() == 0 else None
    if tried is None or not tried.code:
        return []
    if "Operation not permitted" in tried.errors:
        raise _impossible(tried)
    if _is_shared(place):
        raise SafetyRefusal("no clean room can be made in this chroot: what is mounted in it would show outside",
                            hint="make the chroot's root a mount of its own (mount --bind DIR DIR; mount --make-private DIR)")
    return ["--propagation", "unchanged"]


def _is_shared(place: Path) -> bool:
    """Whether mounts below a directory are passed on to other namespaces."""
    best: tuple[int, bool] = (-1, False)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            words = line.split()
            point = words[4].encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")
            if place.is_relative_to(point):
                best = max(best, (len(point), any(word.startswith("shared:") for word in words[6:words.index("-")])))
    return best[1]


def _impossible(result: Result) -> SafetyRefusal:
    said = last_words(result.stderr, result.stdout)
    if os.geteuid():
        hint = ("as root it can; for ordinary users the kernel has to allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
                "user.max_user_namespaces above 0, and kernel.apparmor_restrict_unprivileged_userns=0")
    else:
        hint = "root of a container needs CAP_SYS_ADMIN for it; otherwise use a whole machine"
    return SafetyRefusal(f"no clean room can be made here, and nothing that was restored is run outside of one: {said}", hint=hint,
                         details={"errors": result.errors[-2000:]})
