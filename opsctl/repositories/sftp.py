"""How restic comes into SFTP servers: by the pinned key of each, with the one login key that is meant for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.errors import ConfigError, ProgramFailed
from opsctl.model.sftp import SftpAddress
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.repositories.store import Store

# Nothing of this machine's or of a user's own SSH configuration is read. A key that was not pinned is never asked for, a
# server that is silent is given up, and nothing but SFTP is ever spoken.
_ALWAYS = """\
  IdentitiesOnly yes
  PreferredAuthentications publickey
  BatchMode yes
  StrictHostKeyChecking yes
  GlobalKnownHostsFile /dev/null
  CheckHostIP no
  UpdateHostKeys no
  ConnectTimeout 10
  ConnectionAttempts 1
  ServerAliveInterval 15
  ServerAliveCountMax 4
  ClearAllForwardings yes
  ForwardAgent no
  ForwardX11 no
  PermitLocalCommand no
  ControlMaster no
  ControlPath none
  ProxyCommand none
  RequestTTY no
  LogLevel ERROR
"""


@value
class SftpServer:
    """Where a repository lies, the server's key (``TYPE BASE64``), and the file of the login key."""

    address: SftpAddress
    host_key: str
    key: Path


class SftpServers:
    """All SFTP servers of a configuration by their repositories' names, written down for ssh in ``directory``.

    One file for all: restic takes one for both ends of a copy.
    """

    def __init__(self, directory: Path, servers: Mapping[str, SftpServer]) -> None:
        self.directory = directory
        self.servers = dict(servers)

    def door(self, name: str) -> SftpDoor:
        return SftpDoor(name, self)

    def write(self) -> Path:
        """Have both files there, each whole; returns the one that ssh is told of. Raises ConfigError, ProgramFailed.

        They are named after what stands in them: a run that began before the configuration changed keeps its own.
        """
        keys = "".join(f"{_alias(name)} {server.host_key}\n" for name, server in self.servers.items())
        known_hosts = _keep(self.directory, "known_hosts", keys)
        blocks = "\n".join(self._block(name, server, known_hosts) for name, server in self.servers.items())
        return _keep(self.directory, "config", f"# Made by opsctl from its configuration, for restic's ssh.\n{blocks}")

    def _block(self, name: str, server: SftpServer, known_hosts: Path) -> str:
        where, kind = server.address, server.host_key.split()[0]
        algorithms = "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind
        return (f"Host {_alias(name)}\n  HostName {where.host.replace('%', '%%')}\n  Port {where.port}\n  User {where.user}\n"
                f"  IdentityFile {_word(server.key)}\n  UserKnownHostsFile {_word(known_hosts)}\n"
                f"  HostKeyAlias {_alias(name)}\n  HostKeyAlgorithms {algorithms}\n{_ALWAYS}")


@value
class SftpDoor:
    """The way to one repository: the address that restic gets, and the words that it gets with it."""

    name: str
    servers: SftpServers

    @property
    def url(self) -> str:
        """Under a name of ours that only our file knows, so that no other entry of anybody's fits it."""
        return f"sftp:{_alias(self.name)}:{self.servers.servers[self.name].address.path}"

    def words(self) -> tuple[str, ...]:
        """Options of restic, good for every SFTP server of the configuration. Raises as ``SftpServers.write``."""
        return ("-o", _option(f"sftp.args=-F {_quoted(str(self.servers.write()))}"))

    def store(self) -> Store:
        """The direct look at what lies there."""
        from opsctl.repositories.sftp_store import SftpStore

        return SftpStore(self.name, self.servers.servers[self.name])


def _alias(name: str) -> str:
    return f"opsctl-{name}"


def _word(path: Path) -> str:
    """A path in a file of ssh's, which expands % and ${} and knows no escape for a quotation mark."""
    text = str(path)
    if any(sign in text for sign in '"$\n\\'):
        raise ConfigError(f"{text}: ssh cannot be told of a file with a quotation mark, a backslash or $ in its path",
                          hint="give the file another place")
    return '"' + text.replace("%", "%%") + '"'


def _quoted(text: str) -> str:
    """One word, as restic splits ``sftp.args`` into words."""
    if '"' in text or "\\" in text:
        raise ConfigError(f"{text}: restic cannot be told of a file with a quotation mark in its path",
                          hint="give `state` another place")
    return f'"{text}"'


def _option(text: str) -> str:
    """One value of ``-o``, which restic reads as a field of a CSV line."""
    return '"' + text.replace('"', '""') + '"'


def _keep(directory: Path, name: str, text: str) -> Path:
    from opsctl.repositories.whole import write_whole

    content = os.fsencode(text)
    path = directory / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    try:
        if path.read_bytes() == content:
            return path
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ProgramFailed(f"{path} cannot be read: {error.strerror}", where=str(path)) from error
    write_whole(path, content)
    return path
