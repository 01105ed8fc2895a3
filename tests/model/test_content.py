"""What a piece of a file is: by value, with real noise."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from opsctl.model.content import Piece, is_noise, is_text, kind_of, look

NOISE = random.Random(6).randbytes(8192)
TEXT = ("Demand 2026-27, ward 14, house 112, paid on time.\n" * 200).encode()
HINDI = ("वार्ड १४ का संपत्ति कर जमा किया गया।\n" * 200).encode()


def piece(content: bytes) -> Piece:
    return Piece(content[:4096], content[len(content) // 2:][:4096], len(content))


@pytest.mark.parametrize(("name", "content", "found"), [
    ("a.pdf", b"%PDF-1.7\n" + NOISE, "right"),
    ("a.pdf", NOISE, "scrambled"),
    ("a.pdf", b"<html>not found</html>" * 50, "other"),
    ("a.pdf", b"MARKER\0\0" + bytes(200) + NOISE, "scrambled"),
    ("a.pdf.locked", NOISE, "scrambled"),
    ("a.pdf.gpg", NOISE, "opaque"),
    ("a.jpg", NOISE[:300] + bytes(9000), "scrambled"),
    ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "right"),
    ("a.txt", TEXT, "right"),
    ("a.txt", HINDI, "right"),
    ("a.csv", "कर".encode("utf-16") * 900, "right"),
    ("a.txt", TEXT[:2000] + NOISE, "scrambled"),
    ("a.sql", TEXT + NOISE * 9, "right"),
    ("a.txt", TEXT + NOISE * 9, "scrambled"),
    ("a.txt", b"", "small"),
    ("a.dat", NOISE, "opaque"),
    ("a.dat", TEXT, "plain"),
    ("a.js.br", NOISE, "opaque"),
    ("a", gzip.compress(TEXT), "plain"),
    ("a.gz", gzip.compress(NOISE), "right"),
    ("a.bak", gzip.compress(NOISE), "plain"),
])
def test_a_file_is_held_against_its_name(name: str, content: bytes, found: str) -> None:
    assert look(f"/srv/{name}", piece(content)) == found


def test_noise_is_told_from_all_that_only_looks_dense() -> None:
    chance = random.Random(7)
    for size in (64, 100, 256, 1024, 4096):
        assert all(is_noise(chance.randbytes(size)) for _ in range(500))
    for dense in (TEXT, HINDI, bytes(range(256)) + bytes(900), NOISE.hex().encode(), bytes(4096)):
        assert not is_noise(dense[:4096])
    assert not is_noise(NOISE[:63]), "too little says nothing"


def test_text_of_old_code_pages_is_text_and_packed_data_is_not() -> None:
    assert is_text("Müller, Straße".encode("latin-1") * 20)
    assert not is_text(zlib.compress(NOISE))
    assert kind_of(b"PK\x03\x04" + NOISE) == "zip" and kind_of(NOISE) is None
