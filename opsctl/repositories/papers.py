"""Documents of an incident on disk: copied in with their hash, and held against it again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from opsctl.errors import ProgramFailed, UsageError
from opsctl.model.values import value
from opsctl.plain_file import sha256_of
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import system_said_no

LARGEST = 256 << 20
"""Bytes of one document; what is larger is evidence."""


@value
class Paper:
    """A document as it was taken in: ``name`` is that of its file in the incident's ``papers/``."""

    name: str
    sha256: str
    bytes: int


def take_in(source: Path, folder: Path, kind: str) -> Paper:
    """Copy a document into ``folder``, whole and durably, under a name of its kind; a later one of that kind gets the next number.

    UsageError where it is no file, empty or too large, ProgramFailed where the system says no: nothing is left behind then.
    """
    ending = re.sub(r"[^A-Za-z0-9.]", "", source.suffix)[:9].lower()
    private_folder(folder)
    handle, made = tempfile.mkstemp(dir=folder, prefix=".paper.")
    try:
        with os.fdopen(handle, "wb") as out:
            sha256, size = copy_hashed(source, out)
            if not size:
                raise UsageError(f"{source} is empty", hint="name the document itself")
            out.flush()
            os.fsync(out.fileno())
        return Paper(_link(Path(made), folder, kind, ending), sha256, size)
    except OSError as error:
        raise system_said_no(error, folder) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)


def copy_hashed(source: Path, out: BinaryIO) -> tuple[str, int]:
    """SHA-256 and bytes of a plain file, as it was written into ``out``, also of one that changes meanwhile.

    UsageError where it is no file or larger than ``LARGEST``, ProgramFailed where the system says no.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise UsageError(f"{source} is no file", hint="save the document, and name that file")
            while piece := opened.read(1 << 20):
                size += len(piece)
                if size > LARGEST:
                    raise UsageError(f"{source} is larger than {LARGEST >> 20} MiB", hint="evidence goes by `evidence collect`")
                digest.update(piece)
                out.write(piece)
    except OSError as error:
        raise ProgramFailed(f"{source}: {error.strerror}", where=str(source)) from error
    return digest.hexdigest(), size


def _link(made: Path, folder: Path, kind: str, ending: str) -> str:
    """Give it the first free name; two people at once get two."""
    number = 1
    while True:
        name = f"{kind}-{number}{ending}"
        try:
            os.link(made, folder / name)
        except FileExistsError:
            number += 1
        else:
            return name


def trouble(folder: Path, name: str, sha256: str) -> str:
    """What is wrong with a document that was taken in; empty where it is whole."""
    try:
        now = sha256_of(folder / name, LARGEST)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if now == sha256 else f"was changed since it was taken in: SHA-256 is {now[:12]}…, it was {sha256[:12]}…"
