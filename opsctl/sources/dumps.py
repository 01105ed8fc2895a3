"""What holds for the dump of any database server."""

from __future__ import annotations

from pathlib import Path

from opsctl.errors import DamagedData, ProgramFailed


def check_whole(dump: Path, trailer: str) -> None:
    """DamagedData for a dump without its trailer, which would load as far as it goes; ProgramFailed where it cannot be read."""
    try:
        with open(dump, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1024))
            end = file.read()
    except OSError as error:
        raise ProgramFailed(f"{dump}: {error.strerror}") from error
    if trailer.encode() not in end:
        raise DamagedData(f"{dump} lacks its end: {trailer!r} is not in its last KiB", hint="restore it anew")
