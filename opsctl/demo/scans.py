"""Made-up scanned uploads: PDF and JPEG files by body and year, as incompressible as real ones."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from opsctl.demo.portal import BODIES, SEED, body_code

MEGABYTE = 2**20
SMALLEST, LARGEST = 20_000, 2_000_000  # bytes of a scan
YEARS = (2021, 2022, 2023, 2024, 2025)
NAMES = (
    "marriage-{:06d}.pdf",
    "property-tax-{:06d}.pdf",
    "water-connection-{:06d}.jpg",
    "trade licence {:06d}.pdf",
    "scan {:06d} (2).jpg",
    "विवाह-{:06d}.pdf",
    "नामांतरण आवेदन {:06d}.pdf",
    "मकान-{:06d}.jpg",
)

# A picture of 1240 by 1754 grey points (A4 at 150 dpi) with one-code Huffman tables: enough for whoever looks
# at a file's type. What follows is noise that decodes to nothing.
JPEG_HEAD = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x96\x00\x96\x00\x00"
    + b"\xff\xdb\x00\x43\x00"
    + b"\x10" * 64
    + b"\xff\xc0\x00\x0b\x08\x06\xda\x04\xd8\x01\x01\x11\x00"
    + b"\xff\xc4\x00\x14\x00\x01"
    + bytes(16)
    + b"\xff\xc4\x00\x14\x10\x01"
    + bytes(16)
    + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
)
JPEG_TAIL = b"\xff\xd9"


@dataclass(frozen=True)
class _Scan:
    """One file to be: where below the uploads, how many bytes of noise, and when it was changed (UTC)."""

    path: Path
    noise: int
    changed: datetime
    key: str


def make_scans(directory: Path, *, megabytes: int = 200, seed: int = SEED) -> list[Path]:
    """Fill `directory` with CODE/YEAR/NAME files, in all at least `megabytes` of 2**20 bytes; returns them.

    The same seed gives the same names, bytes and times. Raises FileExistsError rather than write over a file.
    """
    written: list[Path] = []
    size, number = 0, 0
    while size < megabytes * MEGABYTE:
        number += 1
        draw = _draw(seed, number)
        year = YEARS[draw % len(YEARS)]
        scan = _scan(seed, number, date(year, 1, 1) + timedelta(days=draw // 7 % 360))
        size += _write(directory, scan)
        written.append(directory / scan.path)
    _age_folders(directory)
    return written


def add_scans(directory: Path, *, count: int, seed: int = SEED, on: date = date(2026, 11, 2)) -> list[Path]:
    """Add `count` scans of the day `on` to the tree that make_scans left, in new names; returns them."""
    numbers = [int(found[1]) for path in directory.rglob("*") if (found := re.search(r"(\d{6})", path.name))]
    first = max(numbers, default=0) + 1
    written: list[Path] = []
    for number in range(first, first + count):
        scan = _scan(seed, number, on)
        _write(directory, scan)
        written.append(directory / scan.path)
    _age_folders(directory)
    return written


def _draw(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:16])


def _scan(seed: int, number: int, day: date) -> _Scan:
    draw = _draw(seed, number)
    morning = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
    changed = morning + timedelta(seconds=draw // 11 % 25_000)
    code = body_code(1 + draw // 13 % BODIES)
    name = NAMES[draw // 5_381 % len(NAMES)].format(number)
    # The sixth power: most scans are small, a few are large. In integers, to be the same on every machine.
    share = draw >> 112
    noise = SMALLEST + (LARGEST - 30_000 - SMALLEST) * share**6 // 0xFFFF**6
    return _Scan(Path(code, str(changed.year), name), noise, changed, f"{seed}/{number}")


def _write(directory: Path, scan: _Scan) -> int:
    # SHAKE is quick and defined to the bit; no two scans share a block that a store could keep once.
    noise = hashlib.shake_128(scan.key.encode()).digest(scan.noise)
    picture = JPEG_HEAD + noise.replace(b"\xff", b"\xff\x00") + JPEG_TAIL
    content = _pdf(picture) if scan.path.suffix == ".pdf" else picture
    path = directory / scan.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    os.utime(path, (scan.changed.timestamp(), scan.changed.timestamp()))
    return len(content)


def _pdf(picture: bytes) -> bytes:
    """One page that shows `picture`, as scanners write it."""
    page = b"q 595 0 0 842 0 0 cm /Scan Do Q"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /XObject << /Scan 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page),
        b"<< /Type /XObject /Subtype /Image /Width 1240 /Height 1754 /ColorSpace /DeviceGray"
        b" /BitsPerComponent 8 /Filter /DCTDecode /Length %d >>\nstream\n%s\nendstream"
        % (len(picture), picture),
    ]
    parts, starts, at = [b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"], [], 15
    for number, body in enumerate(objects, start=1):
        starts.append(at)
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        at += len(parts[-1])
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table))
    parts.append(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, at))
    return b"".join(parts)


def _age_folders(directory: Path) -> None:
    """Give each folder the time of the newest thing in it, not of our writing."""
    for folder, _, _ in os.walk(directory, topdown=False):
        newest = max((entry.stat().st_mtime_ns for entry in os.scandir(folder)), default=None)
        if newest is not None:
            os.utime(folder, ns=(newest, newest))
