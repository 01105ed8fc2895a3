"""The objects of a repository behind an SFTP server, over a connection to no server but the one whose key is pinned."""

from __future__ import annotations

import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from opsctl.errors import DamagedData, ProgramFailed, Refused, Unreachable
from opsctl.repositories.refusal import Attempt
from opsctl.repositories.sftp import SftpServer
from opsctl.repositories.store import KINDS, TIME_LIMIT, UNFINISHED, Store
from opsctl.shells.ssh_connection import Connection, Keyring, Limits, Login, Target

if TYPE_CHECKING:
    from paramiko import SFTPAttributes, SFTPClient

Found = TypeVar("Found")


class SftpStore(Store):
    """A repository in a directory of an SFTP server. For several threads, one after the other."""

    def __init__(self, name: str, server: SftpServer, *, time_limit: float = TIME_LIMIT) -> None:
        where = server.address
        limits = Limits(connect=time_limit, handshake=time_limit, silence=2 * time_limit)
        self.root = where.path.rstrip("/") or "/"
        self._target = Target(name=name, address=where.host, user=where.user, login=Login(server.key),
                              host_key=server.host_key, port=where.port, limits=limits)
        self._connection = Connection(self._target, Keyring())
        self._time_limit = time_limit
        self._client: SFTPClient | None = None
        self._guard = threading.RLock()

    def list(self, kind: str) -> dict[str, int]:
        def look(client: SFTPClient) -> dict[str, int]:
            folders = [f"{self.root}/{kind}"]
            if kind == "data":
                folders = [f"{folders[0]}/{entry.filename}" for entry in _entries(client, folders[0]) if _is_folder(entry)]
            return {entry.filename: entry.st_size or 0 for folder in folders for entry in _entries(client, folder)
                    if not _is_folder(entry) and not UNFINISHED.match(entry.filename)}

        return self._do(look)

    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        folder = f"{self.root}/{kind}"
        return self._do(lambda client: _content(client, f"{folder}/{name[:2]}/{name}" if kind == "data" else f"{folder}/{name}", part))

    def config(self) -> bytes | None:
        return self._do(lambda client: _content(client, f"{self.root}/config", None))

    def remove_lock(self, name: str) -> None:
        self._do(lambda client: _remove(client, f"{self.root}/locks/{name}"))

    def is_empty(self) -> bool:
        return not self._do(lambda client: any(True for _ in _entries(client, self.root)))

    def is_only_begun(self) -> bool:
        # restic makes the 256 folders for packs first, and looking into each takes its time over a long line.
        return self.config() is None and not any(self.list(kind) for kind in KINDS if kind not in ("keys", "data"))

    def remove_keys(self) -> None:
        def remove(client: SFTPClient) -> None:
            folder = f"{self.root}/keys"
            for entry in _entries(client, folder):
                if not _is_folder(entry):
                    _remove(client, f"{folder}/{entry.filename}")

        self._do(remove)

    def prove_refusal(self) -> Sequence[Attempt]:
        """Delete what does not exist: a server that forbids deletion says so before it looks."""
        path = f"{self.root}/data/{secrets.token_hex(32)}"
        try:
            self._do(lambda client: _remove(client, path))
        except Refused as error:
            return [Attempt("delete", True, f"{self._place} refuses to delete an object of data/ (one that does not exist): {error.message}")]
        return [Attempt("delete", False, f"{self._place} would not refuse to delete an object of data/: whoever may write by "
                                         "SFTP may delete")]

    def _do(self, what: Callable[[SFTPClient], Found]) -> Found:
        """Ask the server; once more on a new connection where the old one was dead."""
        import paramiko

        with self._guard:
            for again in (self._client is None, True):
                client = self._client or self._open()
                try:
                    return what(client)
                except UnicodeDecodeError as error:
                    self._drop()
                    raise DamagedData(f"{self._place} holds a file whose name is no UTF-8, which restic never writes",
                                      hint="who owns the server finds it and removes it, after keeping a copy as evidence") from error
                except (OSError, EOFError, paramiko.SSHException) as error:
                    if isinstance(error, PermissionError):
                        raise Refused(f"{self._place}: the account may not do this there",
                                      hint="are the files those of this account?", where=self._target.name) from error
                    said_by_server = isinstance(error, OSError) and not isinstance(error, TimeoutError) and self._is_alive(client)
                    if said_by_server:
                        raise ProgramFailed(f"{self._place} answered with an error: {error}", where=self._target.name) from error
                    self._drop()
                    if again or isinstance(error, TimeoutError):
                        raise Unreachable(f"{self._place} does not answer ({str(error) or type(error).__name__})",
                                          hint="is the server running, and the network up?", where=self._target.name) from error
        raise AssertionError("unreachable")

    @property
    def _place(self) -> str:
        target = self._target
        return f"the SFTP server {target.user}@{target.address}{'' if target.port == 22 else f' port {target.port}'}"

    def _open(self) -> SFTPClient:
        import paramiko

        with _own_words(self._target):
            channel = self._connection.channel()
        # Asking for a subsystem has no time limit of its own.
        watch = threading.Timer(self._time_limit, self._connection.close)
        watch.daemon = True
        watch.start()
        try:
            channel.settimeout(self._time_limit)
            channel.invoke_subsystem("sftp")
            self._client = paramiko.SFTPClient(channel)
        except (OSError, EOFError, paramiko.SSHException) as error:
            alive = self._connection.is_alive()
            self._drop()
            if alive and not isinstance(error, TimeoutError):
                raise Refused(f"{self._place} gives no SFTP: {error}", where=self._target.name,
                              hint="its sshd_config needs `Subsystem sftp internal-sftp`") from error
            raise Unreachable(f"{self._place} took the call and gives no SFTP within {self._time_limit:g} seconds",
                              where=self._target.name, hint="is the machine in order?") from error
        finally:
            watch.cancel()
        return self._client

    def _is_alive(self, client: SFTPClient) -> bool:
        channel = client.get_channel()
        return self._connection.is_alive() and channel is not None and not channel.closed

    def _drop(self) -> None:
        self._client = None
        self._connection.close()


@contextmanager
def _own_words(target: Target) -> Iterator[None]:
    """What a host's hints say about `opsctl hosts` is not meant for a repository."""
    try:
        yield
    except Refused as error:
        if error.details.get("kind") == "host-key":
            raise
        raise Refused(error.message, where=target.name, details=error.details,
                      hint=f"is ssh_key_file of {target.name} the right key, and does its .pub stand in authorized_keys of "
                           f"{target.user} there?") from error


def _entries(client: SFTPClient, folder: str) -> Iterator[SFTPAttributes]:
    with suppress(FileNotFoundError):
        yield from client.listdir_attr(folder)


def _is_folder(entry: SFTPAttributes) -> bool:
    return stat.S_ISDIR(entry.st_mode or 0)


def _content(client: SFTPClient, path: str, part: tuple[int, int] | None) -> bytes | None:
    try:
        with client.open(path, "rb") as file:
            if part is not None:
                file.seek(part[0])
                found: bytes = file.read(part[1])
                return found
            # Asked for all at once: a file would otherwise come one question and answer after the other.
            file.prefetch(file.stat().st_size or 0)
            whole: bytes = file.read()
            return whole
    except FileNotFoundError:
        return None


def _remove(client: SFTPClient, path: str) -> None:
    with suppress(FileNotFoundError):
        client.remove(path)
