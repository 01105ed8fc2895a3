"""The address of a repository behind an SFTP server, read as restic reads it."""

from __future__ import annotations

import re

from opsctl.model.values import value

_FORMS = (
    re.compile(r"sftp://(?P<user>[^@/\s]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\s\[\]]+)(?::(?P<port>\d{1,5}))?/(?P<path>\S.*)"),
    re.compile(r"sftp:(?!//)(?P<user>[^@/\s]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\s\[\]]+)(?P<port>):(?P<path>\S.*)"),
)


@value
class SftpAddress:
    """Account, address and port of the server, and the path there; one that does not begin with / is the account's own."""

    user: str
    host: str
    port: int
    path: str


def is_sftp(url: str) -> bool:
    """Whether an address is one of an SFTP server."""
    return url.startswith("sftp:")


def sftp_address(url: str) -> SftpAddress:
    """``sftp:user@host:/path`` or ``sftp://user@host:port//path``. ValueError says what is wrong."""
    found = next((match for form in _FORMS if (match := form.fullmatch(url))), None)
    if found is None:
        raise ValueError("must be sftp:user@host:/path, or sftp://user@host:port//path with another port than 22")
    if ":" in found["user"]:
        raise ValueError("must not hold a password; ssh_key_file is what opens the server")
    if found["user"].startswith("-") or found["host"].startswith("-"):
        raise ValueError("holds a user or host that begins with a dash")
    port = int(found["port"] or 22)
    if not 1 <= port <= 65535:
        raise ValueError(f"names port {port}; the last one is 65535")
    return SftpAddress(found["user"], found["host"].strip("[]"), port, found["path"])
