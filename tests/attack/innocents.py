"""What people and programs do to many files at once, and mean well. Each acts once for each set, with its number, from 0."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path
from random import Random

from tests.attack import office


def nothing(place: Path, number: int, chance: Random) -> None:
    """Only the work of every day."""


def photographs(place: Path, number: int, chance: Random) -> None:
    """The year's survey is imported: more photographs than there were files."""
    for count in range(len(office.files(place)) if number == 0 else 0):
        (place / "survey-2026").mkdir(exist_ok=True)
        (place / "survey-2026" / f"IMG_{count:05d}.jpg").write_bytes(office.picture(chance, 20_000))


def recordings(place: Path, number: int, chance: Random) -> None:
    """The council's recordings are imported."""
    for count in range(60 if number == 0 else 0):
        (place / f"session {count:03d}.mp3").write_bytes(office.mp3(chance, 60_000))


def smaller_photographs(place: Path, number: int, chance: Random) -> None:
    """Every picture is compressed anew, under its own name."""
    for path in office.files(place) if number == 0 else ():
        if path.suffix == ".jpg":
            path.write_bytes(office.picture(chance, path.stat().st_size // 2))


def other_format(place: Path, number: int, chance: Random) -> None:
    """Every picture becomes a WebP, and the old one goes."""
    for path in office.files(place) if number == 0 else ():
        if path.suffix in (".jpg", ".png"):
            path.with_suffix(".webp").write_bytes(office.webp(chance, 10_000))
            path.unlink()


def upgrade(place: Path, number: int, chance: Random) -> None:
    """A program is put beside the office's files, and replaced by its next version: real files of this machine."""
    sources = [Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages", Path("/usr/lib/python3/dist-packages"),
               Path("/usr/share/javascript")]
    parts = [part for source in sources if source.is_dir() for part in sorted(source.iterdir()) if part.is_dir()]
    chosen = parts[number % 2::2][:40]
    shutil.rmtree(place / "program", ignore_errors=True)
    for part in chosen:
        shutil.copytree(part, place / "program" / part.name, symlinks=True, dirs_exist_ok=True, ignore_dangling_symlinks=True)


def rotated(place: Path, number: int, chance: Random) -> None:
    """Logs are packed, as every night."""
    for path in (place / "logs").glob("*.log"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (place / "logs").mkdir(exist_ok=True)
    for count in range(40):
        (place / "logs" / f"app-{number}-{count}.log").write_bytes(office.text(chance, 5_000))


def tidied(place: Path, number: int, chance: Random) -> None:
    """Everything is moved into a folder of the year that ends."""
    if number == 0:
        (place / "2026").mkdir()
        for folder in sorted(place.glob("ward-*")):
            folder.rename(place / "2026" / folder.name)


def kept_aside(place: Path, number: int, chance: Random) -> None:
    """Every file gets a .bak behind its name before a migration."""
    for path in office.files(place) if number == 0 else ():
        path.rename(path.with_name(f"{path.name}.bak"))


def locked_letters(place: Path, number: int, chance: Random) -> None:
    """Two dozen letters are encrypted for their readers with GnuPG, and the originals removed."""
    letters = [path for path in office.files(place) if path.suffix == ".docx"][:24] if number == 0 else []
    for path in letters:
        path.with_name(f"{path.name}.gpg").write_bytes(b"\x85\x02\x0c" + chance.randbytes(path.stat().st_size))
        path.unlink()


def with_passwords(place: Path, number: int, chance: Random) -> None:
    """Every document gets a password in its own program, which stores it as an OLE file of noise."""
    for path in office.files(place) if number == 0 else ():
        if path.suffix == ".docx":
            path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + chance.randbytes(path.stat().st_size))


def dumps(place: Path, number: int, chance: Random) -> None:
    """A program writes dumps with pictures in their rows, another set each time."""
    for count in range(12):
        rows = b"".join(b"INSERT INTO scan VALUES (%d, '" % row + chance.randbytes(3000) + b"');\n" for row in range(20))
        (place / f"dump-{number}-{count}.sql").write_bytes(b"-- dump of the register\nCREATE TABLE scan (id int, image blob);\n" * 60 + rows)


def own_noise(place: Path, number: int, chance: Random) -> None:
    """A program of the office keeps sealed records of no known type, and always did: they are noise in every set."""
    (place / "sealed").mkdir(exist_ok=True)
    for count in range(60):
        (place / "sealed" / f"{chance.randrange(80):03d}.rec").write_bytes(chance.randbytes(4_000 + count))
