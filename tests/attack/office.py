"""An office's files, real in all that the signals look at: types, sizes, text that compresses, pictures that do not."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random

_WORDS = ("ward", "zone", "demand", "arrears", "receipt", "notice", "holding", "survey", "owner", "वार्ड", "कर", "रसीद", "भुगतान", "नगर")


def text(chance: Random, size: int) -> bytes:
    """Words in two scripts."""
    made, have = [], 0
    while have < size:
        word = chance.choice(_WORDS) if chance.random() < 0.8 else str(chance.randrange(100000))
        made.append(word + ("\n" if chance.random() < 0.1 else " "))
        have += len(made[-1].encode())
    return "".join(made).encode()


def picture(chance: Random, size: int) -> bytes:
    """As a JPEG: a header, and data in which no 0xff stands alone."""
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00H\x00H\x00\x00\xff\xdb\x00C\x00" + bytes(range(1, 65))
    return head + chance.randbytes(size).replace(b"\xff", b"\xff\x00") + b"\xff\xd9"


def drawing(chance: Random, size: int) -> bytes:
    """As a PNG."""
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", 800, 600, 8, 2, 0, 0, 0) + zlib.compress(text(chance, size * 3))


def webp(chance: Random, size: int) -> bytes:
    return b"RIFF" + struct.pack("<I", size) + b"WEBPVP8 " + chance.randbytes(size)


def pdf(chance: Random, size: int) -> bytes:
    """Plain objects around packed streams."""
    stream = zlib.compress(text(chance, size * 2))
    return b"%PDF-1.6\n1 0 obj\n<< /Length " + str(len(stream)).encode() + b" /Filter /FlateDecode >>\nstream\n" + stream + b"\nendstream\nendobj\n%%EOF\n"


def docx(chance: Random, size: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", text(chance, size * 3))
    return made.getvalue()


def xls(chance: Random, size: int) -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + table(chance, size)


def table(chance: Random, size: int) -> bytes:
    """Records of a program of the office's own, of which nobody knows what they begin with."""
    return b"".join(struct.pack("<IIdI", number, chance.randrange(5000), chance.random() * 1e5, 0) for number in range(size // 20))


def packed(chance: Random, size: int) -> bytes:
    return gzip.compress(text(chance, size * 3), mtime=0)


def mp3(chance: Random, size: int) -> bytes:
    return b"ID3\x04\0\0\0\0\0\x21" + chance.randbytes(size)


MAKERS = {"txt": text, "csv": text, "pdf": pdf, "docx": docx, "xls": xls, "jpg": picture, "png": drawing, "dat": table, "html": text,
          "gz": packed}
_OFTEN = ("txt", "csv", "pdf", "pdf", "pdf", "docx", "docx", "xls", "jpg", "jpg", "png", "dat", "html", "gz")


def write(path: Path, chance: Random, size: int | None = None) -> None:
    """A file of the type that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAKERS[path.suffix[1:]](chance, size or chance.randrange(2_000, 30_000)))


def furnish(place: Path, count: int, chance: Random) -> None:
    """``count`` files in folders of ten."""
    for number in range(count):
        write(place / f"ward-{number // 10:02d}" / f"{chance.choice(_WORDS[:9])} {number:04d}.{chance.choice(_OFTEN)}", chance)


def files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file())


def day(place: Path, chance: Random) -> None:
    """What an office does between two sets: some files are edited, some come, one goes."""
    there = files(place)
    for path in chance.sample(there, max(1, len(there) // 30)):
        if path.suffix[1:] in ("txt", "csv", "html", "docx", "xls", "dat", "pdf"):
            write(path, chance)
    for _ in range(max(1, len(there) // 60)):
        number = chance.randrange(10_000, 99_999)
        write(place / f"ward-{chance.randrange(9):02d}" / f"new {number}.{chance.choice(_OFTEN)}", chance)
    chance.choice(there).unlink()
