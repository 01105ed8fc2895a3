"""Connections to hosts over SSH, to no host but the one whose key is pinned.

The key that a host shows is compared before anything of ours is sent: no name, no login key, no command. What is
pinned comes from the caller, as the line of a public key; no file of known hosts is read or written.
"""

from __future__ import annotations

import base64
import logging
import os
import random
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.shells import local
from opsctl.shells.signing import fingerprint
from opsctl.shells.ssh_keys import PURPOSES
from opsctl.shells.turns import Turn

if TYPE_CHECKING:
    from paramiko import Channel, PKey, Transport

#: sshd drops connections beyond MaxStartups (10:30:100) that have not logged in yet, and they look like dead hosts.
PENDING = 8
_TRIES = 4
_LOOK = 1.0
# The window is what may be on its way unread, for each running command: memory here, and speed over long lines.
_WINDOW = 4 << 20
# Groups of 2,048 bits and more cost five times the processor time of an elliptic curve, for each host.
_KEX = ("curve25519-sha256@libssh.org", "mlkem768x25519-sha256", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384")
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_PRINT = "SHA256:"
_CONSOLE = "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its own console"

_doors: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_doors_guard = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """Seconds: for TCP, for each part of the handshake, and without a sign of life while a command runs."""

    connect: float = 10.0
    handshake: float = 20.0
    silence: float = 90.0


@dataclass(frozen=True)
class Login:
    """With what to log in: a private key's file; an agent (its socket) where the file is away or has a passphrase."""

    key: Path | None
    agent: str | None = None


@dataclass(frozen=True)
class Target:
    """One host as the configuration knows it.

    ``host_key`` is ``TYPE BASE64``, or the fingerprint ``SHA256:…`` that a person gave; None where none is pinned.
    """

    name: str
    address: str
    user: str
    login: Login
    host_key: str | None
    port: int = 22
    sudo: bool = False
    limits: Limits = Limits()

    @property
    def place(self) -> str:
        """``db-1 (10.0.0.11)``, with the port where it is not 22."""
        port = "" if self.port == 22 else f" port {self.port}"
        return f"{self.name} ({self.address}{port})" if self.name != self.address else f"{self.address}{port}"


class Keyring:
    """Login keys, each read once: an RSA key takes 0.1 s of checking every time."""

    def __init__(self) -> None:
        self._known: dict[Login, list[PKey]] = {}
        self._guard = threading.Lock()

    def keys(self, login: Login) -> list[PKey]:
        """What to offer, in order. Raises Refused: no key, a passphrase without agent, others can read it."""
        with self._guard:
            if login not in self._known:
                self._known[login] = _login_keys(login)
            return self._known[login]


class Connection:
    """One host, connected to when first needed, and again after a connection was lost. For several threads.

    ``turn`` is entered for the greeting and the login, once the host has taken the call.
    """

    def __init__(self, target: Target, keyring: Keyring, turn: Turn = nullcontext) -> None:
        self.target = target
        self.keyring = keyring
        self.turn = turn
        self._transport: Transport | None = None
        self._guard = threading.Lock()

    def channel(self) -> Channel:
        """A channel for one command. Raises Refused (12), Unreachable (13), Interrupted."""
        import paramiko

        for attempt in (1, 2):
            transport = self.transport()
            try:
                return transport.open_session(window_size=_WINDOW, timeout=self.target.limits.handshake)
            except paramiko.ChannelException as error:
                raise Refused(f"{self.target.place} opens no session: {error}", where=self.target.name,
                              hint="MaxSessions in its sshd_config") from error
            except (paramiko.SSHException, OSError, EOFError) as error:
                self._drop(transport)
                if attempt == 2:
                    raise lost(self.target) from error
        raise AssertionError("unreachable")

    def transport(self) -> Transport:
        """The live connection, made if there is none."""
        with self._guard:
            if self._transport is None or not self._transport.is_active():
                self._transport = connect(self.target, self.keyring, self.turn)
            return self._transport

    def is_alive(self) -> bool:
        transport = self._transport
        return transport is not None and transport.is_active()

    def close(self) -> None:
        """End it, and with it every command that still runs through it."""
        with self._guard:
            if self._transport is not None:
                _end(self._transport)
                self._transport = None

    def _drop(self, transport: Transport) -> None:
        with self._guard:
            _end(transport)
            if self._transport is transport:
                self._transport = None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lost(target: Target) -> Unreachable:
    return Unreachable(f"the connection to {target.place} was lost", where=target.name,
                       hint="what ran there is ended by the host itself within seconds of noticing")


def _end(transport: Transport) -> None:
    """Close it now: where the socket is closed alone, what reads from it sleeps on."""
    with suppress(OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)
    transport.close()


def connect(target: Target, keyring: Keyring, turn: Turn = nullcontext) -> Transport:
    """A new connection that is logged in. Raises Refused (12), Unreachable (13), Interrupted."""
    if target.host_key is None:
        raise _unpinned(target)
    keys = keyring.keys(target.login)  # before the network: a key of ours that is missing holds nobody up

    def log_in(transport: Transport) -> None:
        _check_host_key(target, transport)
        _authenticate(target, transport, keys)

    return _connected(target, log_in, _pinned_type(target.host_key), turn)


def shown_key(target: Target) -> str:
    """The key that a host shows, as ``TYPE BASE64``; nothing but greetings is sent. Raises Unreachable, Refused."""
    found: list[str] = []

    def look(transport: Transport) -> None:
        key = transport.get_remote_server_key()
        found.append(f"{key.get_name()} {base64.b64encode(key.asbytes()).decode()}")

    _connected(target, look, None).close()
    return found[0]


def shows_its_key(target: Target) -> bool:
    """Whether who answers there shows the pinned key, which takes its private half; nothing but greetings is sent. Raises Interrupted."""
    if target.host_key is None:
        return False
    with suppress(Refused, Unreachable):
        _connected(target, lambda transport: _check_host_key(target, transport), _pinned_type(target.host_key)).close()
        return True
    return False


def _pinned_type(host_key: str) -> str | None:
    return None if host_key.startswith(_PRINT) else host_key.split()[0]


def _connected(target: Target, then: Callable[[Transport], None], key_type: str | None, turn: Turn = nullcontext) -> Transport:
    for attempt in range(1, _TRIES + 1):
        local.LocalShell().check()
        try:
            with _door(target):
                return _once(target, then, key_type, turn)
        except _Crowded as error:
            if attempt == _TRIES:
                raise error.as_unreachable(target) from error
        time.sleep(random.uniform(0.1, 0.4) * attempt)
    raise AssertionError("unreachable")


class _Crowded(Exception):
    """sshd took the call and hung up before its greeting, as it does when too many stand at the door."""

    def as_unreachable(self, target: Target) -> Unreachable:
        return Unreachable(f"{target.place} takes calls and gives no SSH greeting: {self}", where=target.name,
                           hint="is that port sshd's, and is MaxStartups in its sshd_config large enough?")


@contextmanager
def _door(target: Target) -> Iterator[None]:
    place = (target.address, target.port)
    with _doors_guard:
        door = _doors.setdefault(place, threading.BoundedSemaphore(PENDING))
    with door:
        yield


def _once(target: Target, then: Callable[[Transport], None], key_type: str | None, turn: Turn) -> Transport:
    import paramiko

    _quiet()
    begun = time.monotonic()
    transport: Transport | None = None
    caller: socket.socket | None = None
    try:
        caller = _call(target)
        with turn():
            begun = time.monotonic()
            transport = _prepared(paramiko, caller, target, key_type)
            transport.start_client(timeout=target.limits.handshake + 1)
            then(transport)
        return transport
    except BaseException as error:
        if transport is not None:
            transport.close()
        if caller is not None:
            caller.close()
        if isinstance(error, OpsError | _Crowded):
            raise
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            raise _incompatible(target, error, key_type) from error
        if isinstance(error, paramiko.SSHException | OSError | EOFError):
            raise _what_went_wrong(target, error, time.monotonic() - begun, called=transport is not None) from error
        raise


def _call(target: Target) -> socket.socket:
    caller = socket.create_connection((target.address, target.port), timeout=target.limits.connect)
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What was sent and is not even acknowledged for so long is not on its way any more; the default is 15 minutes.
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(target.limits.silence * 1000))
    return caller


def _prepared(paramiko: Any, caller: socket.socket, target: Target, key_type: str | None) -> Transport:
    transport: Transport = paramiko.Transport(caller, default_window_size=_WINDOW)
    transport.banner_timeout = transport.auth_timeout = target.limits.handshake
    transport.handshake_timeout = target.limits.handshake
    # A new key exchange is left to sshd, which begins one in time. One that paramiko begins (every 512 MiB) hangs for 30
    # seconds and breaks the connection where a command ends just then: its own thread waits for itself.
    transport.packetizer.REKEY_BYTES = transport.packetizer.REKEY_BYTES_OVERFLOW_MAX = 1 << 40
    options = transport.get_security_options()
    options.kex = [name for name in _KEX if name in options.kex]
    options.ciphers = [name for name in _CIPHERS if name in options.ciphers]
    if key_type is not None:
        options.key_types = list(_RSA) if key_type == "ssh-rsa" else [key_type]
    transport.daemon = True
    # How often a thread looks whether its connection still counts, which `_end` tells it anyway: by default ten times a second.
    caller.settimeout(_LOOK)
    return transport


def _check_host_key(target: Target, transport: Transport) -> None:
    assert target.host_key is not None
    key = transport.get_remote_server_key()
    printed = target.host_key.startswith(_PRINT)
    pinned = target.host_key if printed else fingerprint(target.host_key)
    if fingerprint_of(key) != pinned if printed else key.asbytes() != base64.b64decode(target.host_key.split()[1]):
        anew = "two people compare it with {}, and sign: `opsctl hosts rekey`" if "@" not in target.name else "give as --host-key what {} shows"
        raise Refused(
            f"{target.place} shows another key than the pinned one: {fingerprint_of(key)} instead of {pinned}",
            hint=f"nothing was sent. If it was installed anew, {anew.format(_CONSOLE)}; if not, somebody stands between",
            where=target.name, details={"kind": "host-key", "shown": fingerprint_of(key), "pinned": pinned},
        )


def fingerprint_of(key: PKey) -> str:
    return fingerprint(f"{key.get_name()} {base64.b64encode(key.asbytes()).decode()}")


def _authenticate(target: Target, transport: Transport, keys: list[PKey]) -> None:
    import paramiko

    for key in keys:
        try:
            transport.auth_publickey(target.user, key)
        except paramiko.BadAuthenticationType as error:
            raise _not_let_in(target, keys) from error
        except paramiko.AuthenticationException as error:
            if not transport.is_active() or key is keys[-1]:
                if "timeout" in str(error).lower():
                    raise Unreachable(f"{target.place} did not answer to the login", where=target.name) from error
                raise _not_let_in(target, keys) from error
        else:
            return


def _not_let_in(target: Target, keys: list[PKey]) -> Refused:
    offered = ", ".join(fingerprint_of(key) for key in keys)
    how = "--key FILE gives another one" if "@" in target.name else f"`opsctl hosts prepare {target.name}` prints the line for its authorized_keys"
    return Refused(f"{target.place} does not let {target.user} in with the key {offered}", where=target.name,
                   hint=f"{how}; a `from=` there must name this machine")


def _unpinned(target: Target) -> Refused:
    hint = f"`opsctl hosts add {target.name} {target.address}` shows its fingerprint; compare it with {_CONSOLE}, or write host_key: by hand"
    if "@" in target.name:
        hint = f"it is not written down here how to log in there: --host-key with the fingerprint that {_CONSOLE} shows, and --key FILE"
    return Refused(f"no key of {target.place} is pinned, so nothing is sent to it", where=target.name, details={"kind": "host-key"}, hint=hint)


def _incompatible(target: Target, error: Exception, key_type: str | None) -> Refused:
    said = str(error).removeprefix("Incompatible ssh peer (").rstrip(")")
    if key_type is not None and "host key" in said:
        return Refused(f"{target.place} has no key of the pinned type {key_type}: the pinned one is gone",
                       where=target.name, hint="nothing was sent. Was it installed anew? Look on its own console",
                       details={"kind": "host-key"})
    return Refused(f"{target.place} speaks no SSH that is accepted here: {said}", where=target.name,
                   hint="it needs OpenSSH 6.7 or newer, with curve25519 or ecdh-sha2-nistp256")


def _what_went_wrong(target: Target, error: Exception, seconds: float, called: bool) -> Exception:
    text = str(error)
    if isinstance(error, socket.gaierror):
        return Unreachable(f"the name {target.address} is not known", where=target.name,
                           hint="an address works without a name server")
    if seconds >= target.limits.handshake and called:
        return Unreachable(f"{target.place} took the call and said nothing for {target.limits.handshake:g} seconds",
                           where=target.name, hint="is that port sshd's? A machine without memory does this, too")
    if "banner" in text or isinstance(error, EOFError):
        return _Crowded(text.split("\n")[0] or "it hung up")
    if isinstance(error, TimeoutError):
        return Unreachable(f"{target.place} did not answer within {target.limits.connect:g} seconds",
                           where=target.name, hint="is it up, and does a firewall stand between?")
    if isinstance(error, ConnectionResetError):
        return _Crowded("it hung up")
    if isinstance(error, OSError):
        return Unreachable(f"{target.place} cannot be reached: {error.strerror or text}", where=target.name,
                           hint="is it up, does sshd run, and is the port right?")
    return Unreachable(f"{target.place} broke off the SSH handshake: {text}", where=target.name)


def _login_keys(login: Login) -> list[PKey]:
    import paramiko

    agent = login.agent or os.environ.get("SSH_AUTH_SOCK")
    path = login.key
    trouble = "there is no login key: none was given, and no ssh-agent holds one"
    ours = path is not None and path.name in PURPOSES
    made = "`opsctl hosts prepare HOST` makes it and prints the line for the host" if ours else "--key FILE: the private key that the host lets in"
    if path is not None:
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise Refused(f"others can read the login key {path}", where=str(path),
                                  hint=f"chmod 600 {path}; if others may have copied it, make a new one")
            return [paramiko.PKey.from_path(path)]
        except FileNotFoundError:
            trouble = f"the login key {path} is not there"
        except OSError as error:
            raise Refused(f"the login key {path} cannot be read: {error.strerror}", where=str(path)) from error
        except (paramiko.PasswordRequiredException, TypeError):
            trouble = f"the login key {path} is protected by a passphrase"
        except (paramiko.SSHException, ValueError, paramiko.pkey.UnknownKeyType) as error:
            raise Refused(f"{path} is no private SSH key", where=str(path),
                          hint="`opsctl hosts prepare HOST` makes one where there is none" if ours else made) from error
    found = _agent_keys(agent, path) if agent else []
    if not found:
        raise Refused(trouble, where=str(path) if path else None,
                      hint=f"`ssh-add {path}` where ssh-agent runs, then the same again" if "passphrase" in trouble
                      else made)
    return found


def _agent_keys(agent: str, path: Path | None) -> list[PKey]:
    """The agent's keys; the one alone whose public half lies beside ``path``. Few, for sshd counts the tries."""
    import paramiko

    wanted: bytes | None = None
    if path is not None:
        with suppress(OSError, IndexError, ValueError):
            wanted = base64.b64decode(Path(f"{path}.pub").read_text().split()[1])
    before = os.environ.get("SSH_AUTH_SOCK")
    os.environ["SSH_AUTH_SOCK"] = agent
    try:
        keys: list[Any] = list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError) as error:
        raise ProgramFailed(f"ssh-agent does not answer at {agent}") from error
    finally:
        if before is None:
            del os.environ["SSH_AUTH_SOCK"]
        else:
            os.environ["SSH_AUTH_SOCK"] = before
    return [key for key in keys if wanted is None or key.asbytes() == wanted][:4]


def _quiet() -> None:
    """What paramiko would print about a lost connection, we raise."""
    logger = logging.getLogger("paramiko")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False


__all__ = ["Connection", "Keyring", "Limits", "Login", "Target", "connect", "fingerprint_of", "lost", "shown_key", "shows_its_key"]
