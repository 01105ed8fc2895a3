"""What all pages and PDFs have in common: texts of others stay texts, Hindi has its letters, a drill says so."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import Partial
from opsctl.reports import typeset
from opsctl.reports.page import FOLDER, page

HOSTILE = '<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnp.exe #read("/etc/passwd") *bold* $x$ @note =cmd|\'/C calc\'!A0'
HINDI = "क्षेत्र, ज्ञान, श्रीमान, प्रक्रिया, राष्ट्रीय, द्वितीय"
NOON = datetime(2026, 12, 21, 6, 30, tzinfo=UTC)
TEMPLATE = '#import "page.typ": data, sheet, said\n#show: sheet\n= #said(data.title)\n#said(data.note)\n'


def text_of(pdf: bytes, folder: Path) -> str:
    (folder / "made.pdf").write_bytes(pdf)
    return subprocess.run(["pdftotext", "-layout", str(folder / "made.pdf"), "-"], capture_output=True, check=True).stdout.decode()


def made(folder: Path, note: Any, *, language: str = "en", drill: bool = False) -> bytes:
    (folder / "page.typ").write_bytes((FOLDER / "page.typ").read_bytes())
    (folder / "note.typ").write_text(TEMPLATE)
    return typeset.pdf("note.typ", {"note": note}, title="A note", language=language, drill=drill, at=NOON, folder=folder)


def test_hostile_text_stays_text_in_a_page() -> None:
    said = page('{% extends "page.html" %}{% block body %}<p>{{ note }}</p>{% endblock %}', title=HOSTILE, language="en", drill=False, note=HOSTILE).decode()
    assert "<script" not in said and "\x1b" not in said and "\u202e" not in said
    assert said.count("&lt;script&gt;alert(1)&lt;/script&gt; \\x1b[31mred") == 2


def test_hostile_text_stays_text_in_a_pdf(tmp_path: Path) -> None:
    said = text_of(made(tmp_path, HOSTILE), tmp_path)
    assert '<script>alert(1)</script> \\x1b[31mred\\x1b[0m \\u202egnp.exe #read("/etc/passwd") *bold* $x$ @note =cmd' in " ".join(said.split())
    assert "root:" not in said


def test_a_template_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "note.typ").write_text('#read("/../../../../etc/passwd")')
    with pytest.raises(Partial):
        typeset.pdf("note.typ", {}, title="x", language="en", drill=False, at=NOON, folder=tmp_path)


def test_hindi_is_shaped_with_letters_that_are_in_the_pdf(tmp_path: Path) -> None:
    pdf = made(tmp_path, HINDI, language="hi")
    assert HINDI in text_of(pdf, tmp_path)
    fonts = subprocess.run(["pdffonts", str(tmp_path / "made.pdf")], capture_output=True, text=True, check=True).stdout
    assert "Devanagari" in fonts


def test_a_word_too_long_for_a_line_is_all_there(tmp_path: Path) -> None:
    assert "0123456789" * 40 in "".join(text_of(made(tmp_path, "0123456789" * 40), tmp_path).split())


@pytest.mark.parametrize("language", ["en", "hi"])
def test_a_drill_says_so_on_every_page(tmp_path: Path, language: str) -> None:
    pages = text_of(made(tmp_path, "a line\n" * 120, language=language, drill=True), tmp_path).split("\f")[:-1]
    assert len(pages) > 1
    # pdftotext sees spaces after some vowel signs of Hindi
    assert all(typeset.DRILL[language].replace(" ", "") in one.replace(" ", "") for one in pages)
    assert b"DRILL" in page('{% extends "page.html" %}', title="x", language=language, drill=True)


def test_without_letters_for_hindi_there_is_no_pdf_of_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typst

    monkeypatch.setattr(typeset, "_fonts", lambda: typst.Fonts(include_system_fonts=False))
    assert made(tmp_path, "in English").startswith(b"%PDF")
    with pytest.raises(Partial, match="letters of Hindi") as refused:
        made(tmp_path, HINDI)
    assert "fonts-noto-core" in str(refused.value.hint)
