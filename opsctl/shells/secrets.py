"""Secrets, read where they are needed and nowhere kept."""

from __future__ import annotations

import os
import stat

from opsctl.errors import OpsError, Refused
from opsctl.model.secrets import SecretRef, SecretText
from opsctl.shells.interface import Shell

_TIME_LIMIT = 30  # seconds a password command may take


def read_secret(ref: SecretRef, shell: Shell) -> SecretText:
    """The secret that ``ref`` names; a trailing newline is not part of it.

    Raises Refused (missing, unreadable, empty, readable by others, or its command failed), Interrupted.
    """
    if ref.file is not None:
        content = _from_file(ref, ref.file)
    elif ref.command is not None:
        content = _from_command(ref, ref.command, shell)
    else:
        content = os.fsencode(os.environ.get(ref.env or "", ""))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{ref} is not UTF-8 text") from None  # the cause would quote the secret
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Refused(f"{ref} is empty", hint="where is the secret kept?")
    if "\0" in text:
        raise Refused(f"{ref} contains a NUL byte, which no program takes as a password")
    return SecretText(text)


def _from_file(ref: SecretRef, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise Refused(
                    f"{ref} can be read by others (mode {stat.S_IMODE(mode):04o})", hint=f"chmod 600 {path}"
                )
            return file.read(1 << 20)
    except OSError as error:
        raise Refused(
            f"{ref} cannot be read: {error.strerror}", hint=f"does {path} exist, and may we read it?"
        ) from error


def _from_command(ref: SecretRef, argv: tuple[str, ...], shell: Shell) -> bytes:
    """A failing command may have printed half of the secret: nothing of what it said is repeated."""
    try:
        result = shell.run(argv, timeout=_TIME_LIMIT, accept=None)
    except OpsError as error:
        if error.code == 130:
            raise
        raise Refused(f"{ref}: {error.message}", hint=error.hint) from error
    if result.code:
        raise Refused(f"{ref}: the command failed ({result.code})", hint=f"run it by hand: {argv[0]}")
    return result.stdout
