"""A clean room whose database servers run on a host that is cut off; the files of a set lie here meanwhile, and nothing of them is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.model.values import value
from opsctl.shells.host_room import HostRoomShell
from opsctl.shells.interface import Session
from opsctl.shells.local import last_words
from opsctl.sources.clean_room import PREFIX, Room
from opsctl.sources.host_server_scripts import ACCOUNTS, REMOVE, SERVERS, VERSIONS
from opsctl.sources.interface import Source

_SECONDS = 60.0


@value
class Shown:
    """What was seen of a host before anything runs there. ``ways_out``: everything that is open; ``says``: a line for people."""

    ways_out: tuple[str, ...]
    says: str


class HostRoom(Room):
    """As ``Room``. ``shell``: the host's; ``below``: the folder there; ``look`` probes whether it is cut off, ``still`` whether it is so still.

    Dumps are fed to a server there over the connection. The host gets no password and no address of a repository.
    """

    def __init__(
        self, name: str, parent: Path, *, about: Mapping[str, str], shell: HostRoomShell, below: str, host: str,
        driver: Callable[[str, Mapping[str, Any], Any], Source], look: Callable[[], Shown], still: Callable[[], str],
    ) -> None:
        super().__init__(name, parent, about={**about, "host": host}, shown=(), driver=driver)
        self.host = host
        self.there_below = f"{below.rstrip('/')}/{PREFIX}{name}"
        self._on_host = shell
        self._look = look
        self._still = still
        self._seen: Shown | None = None

    def source(self, name: str, entry: Mapping[str, Any]) -> Source:
        return self._driver(name, entry, self._on_host)

    @property
    def says(self) -> str:
        return self._seen.says if self._seen is not None else ""

    def refuse_a_way_out(self) -> None:
        if self._seen is None:
            found = self._look()
            if found.ways_out:
                more = f" and {len(found.ways_out) - 5} more" if len(found.ways_out) > 5 else ""
                raise SafetyRefusal(f"{self.host} is no clean room: {'; '.join(found.ways_out[:5])}{more}; nothing was loaded there", where=self.host,
                                    hint=f"cut it off first: opsctl isolate apply {self.host}", details={"ways_out": list(found.ways_out)})
            self._seen = found
            return
        if why := self._still():
            self._seen = None
            raise SafetyRefusal(f"{self.host} is no clean room any more: {why}", where=self.host,
                                hint=f"find out who opened it; opsctl isolate apply {self.host}, then resume")

    def refuse_older(self, name: str, entry: Mapping[str, Any]) -> None:
        said = self._run(VERSIONS[entry["kind"]])
        self.database(name, entry).refuse_older_here(entry, said, self.host)

    def has_server(self, name: str) -> bool:
        return self._run('if [ -d "$1/data" ]; then echo yes; fi', self._there(name)).strip() == "yes"

    def forget_server(self, name: str) -> None:
        self.proven.discard(name)
        self._run('rm -rf -- "$1" "$1.log"', self._there(name))

    def remove(self) -> None:
        with self._guard:
            for server, _ in self._servers.values():
                server.abandon()
            self._servers.clear()
            self._run(REMOVE, self.there_below)
            super().remove()

    def _server_for(self, name: str, entry: Mapping[str, Any]) -> HostServer:
        self.refuse_a_way_out()
        return HostServer(entry["kind"], self._there(name), self._on_host)

    def _there(self, name: str) -> str:
        return f"{self.there_below}/db-{name}"

    def _run(self, script: str, *words: str) -> str:
        result = self._on_host.run(["sh", "-c", script, "room", *words], timeout=_SECONDS, accept=None)
        if result.code:
            raise ProgramFailed(f"{self.host}: {last_words(result.stderr, result.stdout)}", where=self.host,
                                hint="install the server's programs there before it is cut off" if "not installed" in result.errors else None)
        return result.text


class HostServer:
    """One server on the host, which ends with our connection, however that ends; its data stays."""

    orderly = "stop"

    def __init__(self, kind: str, directory: str, shell: HostRoomShell) -> None:
        self.kind = kind
        self.directory = directory
        self.shell = shell
        self._session: Session | None = None
        self._address = ""

    @property
    def address(self) -> Mapping[str, str]:
        known = {"server": self._address}
        return {**known, "port": "5432", "user": "postgres"} if self.kind == "postgresql" else {**known, "user": "root"}

    def start(self) -> None:
        if self._session is not None:
            return
        session = self.shell.open(["sh", "-c", SERVERS[self.kind], "room-server", self.directory, ACCOUNTS[self.kind]])
        said = session.stdout.readline().decode("utf-8", "replace").rstrip("\n")
        word, _, address = said.partition(" ")
        if word != "ready" or not address:
            result = session.close()
            raise ProgramFailed(f"no {self.kind} server on {self.shell.name}: {last_words(result.stderr, result.stdout)}", where=self.shell.name,
                                hint="its programs have to be installed there before it is cut off")
        self._session, self._address = session, address

    def stop(self, word: str | None = None) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            try:
                session.stdin.write(f"{word or 'kill'}\n".encode())
                session.stdin.flush()
            except OSError:  # it has ended, which is what is wanted
                pass
            session.close(_SECONDS)

    def abandon(self) -> None:
        self.stop("kill")


__all__: Sequence[str] = ("HostRoom", "HostServer", "Shown")
