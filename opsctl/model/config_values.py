"""Value types of the configuration: time zones, stores, public keys, telephone numbers, e-mail addresses."""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from opsctl.model.config_s3 import FORM, s3_address
from opsctl.model.fields import Line, Shown, absolute, either
from opsctl.model.part import AfterValidator, BeforeValidator, Told
from opsctl.model.sftp import is_sftp, sftp_address

LATER = "is not supported by this version of opsctl"
_LATER_STORES = ("b2", "azure", "gs", "swift", "rclone")
_KEY_TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        from opsctl.model.timezones import near_zones

        near = near_zones(value)
        meant = f"; did you mean {either(near)}?" if near else ""
        raise ValueError(f"must be a time zone such as Asia/Kolkata or UTC{meant}") from error
    return value


def _store(value: str, info: Told) -> str:
    """A place for a repository: a path on this machine, ``rest:https://host:port/path``, one by SFTP or in an S3 store."""
    scheme, colon, rest = value.partition(":")
    if not colon or "/" in scheme:
        return absolute(value, info)
    if is_sftp(value):
        sftp_address(value)
        return value
    if scheme in _LATER_STORES:
        raise ValueError(f"a store of kind {scheme} {LATER}; use a path, rest:https://… or s3:https://…")
    if scheme == "s3":
        return s3_address(value)
    if scheme in ("http", "https"):
        raise ValueError("must start with rest: for a REST server (rest:https://host:8000/name)")
    if scheme != "rest":
        raise ValueError(f"must be a path on this machine, rest:https://host:port/name, sftp:user@host:/path or {FORM}")
    try:
        parts = urlsplit(rest)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError as error:
        raise ValueError("must be rest:https://host:port/name; this address cannot be read") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; use the keys user and secret_file")
    odd = parts.query or parts.fragment or any(mark.isspace() for mark in value)
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise ValueError("must be rest:https://host:port/name")
    return value


def _public_key(value: str) -> str:
    if "PRIVATE KEY" in value:
        raise ValueError(
            "is a private key; take it out of this file, make a new pair, and put the public key here"
        )
    words = value.split()
    if len(words) < 2 or words[0] not in _KEY_TYPES or not value.strip().isprintable():
        raise ValueError("must be an SSH public key on one line: ssh-ed25519 AAAA… comment")
    try:
        blob = binascii.a2b_base64(words[1], strict_mode=True)
    except ValueError:
        blob = b""
    if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != words[0].encode():
        raise ValueError("is not a whole SSH public key; copy the line of the .pub file again")
    return value


def _email(value: str) -> str:
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) is None:
        raise ValueError("must be an e-mail address")
    return value


def _phone(value: str) -> str:
    if re.fullmatch(r"\+?[0-9][0-9 ()/-]{2,30}", value) is None:
        raise ValueError("must be a telephone number, in quotes")
    return value


def _time_server(value: str) -> str:
    found = re.fullmatch(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?|[0-9A-Fa-f:.]+", value)
    if found is None or not 0 < int(found[1] or 1) <= 65535:
        raise ValueError("must be a name or address such as samay1.nic.in; a port behind it only where it is not 123")
    return value


def _mounted(value: Any, info: Told) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return absolute(value, info)
    raise ValueError("must be true, or the path where a file system has to be mounted")


TimeZone = Annotated[str, AfterValidator(_timezone), Shown("time zone")]
Store = Annotated[Line, AfterValidator(_store), Shown("path or address")]
PublicKey = Annotated[str, AfterValidator(_public_key), Shown("SSH public key")]
Email = Annotated[str, AfterValidator(_email), Shown("e-mail address")]
Phone = Annotated[str, AfterValidator(_phone), Shown("telephone number")]
TimeServer = Annotated[str, AfterValidator(_time_server), Shown("address")]
Mounted = Annotated[bool | str, BeforeValidator(_mounted), Shown("path or true")]
