"""What attackers do to an office between two sets. Each acts once for each set, with the number of the set, from 0."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.attack.office import files

_NOTE = "All your files are encrypted. Write to mail@x.invalid."


def _scramble(path: Path, chance: Random, *, skip: int = 0, most: int | None = None) -> None:
    """As a stream cipher does it: every byte gets another one by chance."""
    whole = path.read_bytes()
    end = len(whole) if most is None else min(len(whole), skip + most)
    path.write_bytes(whole[:skip] + chance.randbytes(max(0, end - skip)) + whole[max(skip, end):])


def at_once(place: Path, number: int, chance: Random) -> None:
    """Every file is encrypted and keeps its name."""
    for path in files(place) if number == 0 else ():
        _scramble(path, chance)


def at_once_renamed(place: Path, number: int, chance: Random) -> None:
    """Every file is encrypted, gets a suffix, and each folder a demand."""
    for path in files(place) if number == 0 else ():
        _scramble(path, chance)
        path.rename(path.with_name(f"{path.name}.id-7F3A.[mail@x.invalid].lokt"))
        (path.parent / "HOW_TO_DECRYPT.txt").write_text(_NOTE)


def nameless(place: Path, number: int, chance: Random) -> None:
    """Every file is encrypted and gets a name and a suffix by chance, each another one."""
    for path in files(place) if number == 0 else ():
        _scramble(path, chance)
        path.rename(path.with_name(f"{chance.randbytes(8).hex()}.{''.join(chance.choices('abcdefghijklmnopqrstuvwxyz', k=6))}"))


def _some(place: Path, share: float, chance: Random) -> Iterator[Path]:
    done = {*(place.parent / "done").read_text().split("\n")} if (place.parent / "done").exists() else set()
    left = [path for path in files(place) if str(path) not in done]
    taken = chance.sample(left, min(len(left), max(1, round(len(files(place)) * share))))
    with (place.parent / "done").open("a") as kept:
        kept.writelines(f"{path}\n" for path in taken)
    yield from taken


def slowly(place: Path, number: int, chance: Random) -> None:
    """One in a hundred files a set is encrypted and keeps its name."""
    for path in _some(place, 0.01, chance):
        _scramble(path, chance)


def heads(place: Path, number: int, chance: Random) -> None:
    """The first 1,024 bytes of every file are encrypted, the rest stays: quick, and enough."""
    for path in files(place) if number == 0 else ():
        _scramble(path, chance, most=1024)


def heads_slowly(place: Path, number: int, chance: Random) -> None:
    """The first 1,024 bytes of one in a hundred files a set."""
    for path in _some(place, 0.01, chance):
        _scramble(path, chance, most=1024)


def behind_heads(place: Path, number: int, chance: Random) -> None:
    """All but the first 4,096 bytes of every file is encrypted, so that its type looks right."""
    for path in files(place) if number == 0 else ():
        _scramble(path, chance, skip=4096)


def renamed_only(place: Path, number: int, chance: Random) -> None:
    """Every file gets a suffix, and nothing is encrypted."""
    for path in files(place) if number == 0 else ():
        path.rename(path.with_name(f"{path.name}.encrypted"))


def into_archives(place: Path, number: int, chance: Random) -> None:
    """Every folder is packed into an archive that only a password opens, and emptied."""
    for folder in sorted(path for path in place.iterdir() if path.is_dir()) if number == 0 else ():
        with zipfile.ZipFile(place / f"{folder.name}.zip", "w") as archive:
            for path in files(folder):
                archive.writestr(path.name, chance.randbytes(path.stat().st_size))
                os.unlink(path)
        folder.rmdir()
