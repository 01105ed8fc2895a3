"""PDFs, set by typst from a template beside this module: whatever is filled in goes there as data, and is never markup.

A template imports ``page.typ``, finds its data as ``data``, and puts text from it down with ``said(text)``:

    #import "page.typ": data, sheet, said
    #show: sheet
    #said(data.note)
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.errors import Partial
from opsctl.model.safe_text import shown, shown_lines
from opsctl.programs import by_name
from opsctl.reports.page import DRILL, FOLDER

FAMILIES = ("Noto Sans Devanagari", "Noto Sans Devanagari UI", "Lohit Devanagari")
"""Letters that shape Hindi, the first preferred; ``page.typ`` names the same."""
LIMIT = 30.0
"""Seconds for one PDF."""
_HINDI = re.compile(r"[ऀ-ॿ꣠-ꣿ]")


def pdf(template: str, data: Mapping[str, Any], *, title: str, language: str, drill: bool, at: datetime, folder: Path = FOLDER) -> bytes:
    """A template's PDF, dated ``at``. ``data`` is JSON-able; its texts are made harmless.

    ``folder``: where the template lies; it reads no file outside it, and imports ``page.typ`` from it. Partial where typst, or
    letters for what has to be written, are not installed, where typst gives up, and where it is not done within ``LIMIT`` seconds.
    """
    typst = _typst()
    given = json.dumps(_harmless({**data, "title": title, "language": language, "drill": drill, "drill_says": DRILL[language]}), ensure_ascii=False)
    if _HINDI.search(given):
        require_hindi()
    fonts = _fonts()
    made: list[bytes] = []
    failed: list[BaseException] = []

    def compile_() -> None:
        try:
            made.append(typst.compile(str(folder / template), root=str(folder), font_paths=fonts, sys_inputs={"data": given}, timestamp=int(at.timestamp())))
        except BaseException as error:  # a panic of typst is no Exception
            failed.append(error)

    # Beside us: one word of a hostile host can take it minutes, and what is read out on the telephone waits for no PDF.
    thread = threading.Thread(target=compile_, name="typst", daemon=True)
    thread.start()
    thread.join(LIMIT)
    if failed:
        raise Partial(f"typst made no PDF of {template}: {shown(str(failed[0]))}", hint="the page and the text are there", where=template) from failed[0]
    if not made:
        raise Partial(f"typst is not done with the PDF of {template} after {LIMIT:.0f} seconds", hint="the page and the text are there", where=template)
    return made[0]


def require_hindi() -> None:
    """Partial where no font for Devanagari is installed: there would be boxes in place of letters."""
    if not set(FAMILIES) & set(_fonts().families()):
        raise Partial("there is no PDF: no font with the letters of Hindi is installed",
                      hint=f"`opsctl doctor --fix` as root brings it (package {by_name('fonts').package}); the page and the text are there", where="fonts")


def _typst() -> Any:
    try:
        import typst
    except ImportError as error:
        raise Partial("there is no PDF: the Python package typst is not installed",
                      hint="set opsctl up again with bootstrap.py; the page and the text are there", where="typst") from error
    return typst


@functools.cache
def _fonts() -> Any:
    """All letters of this machine, looked for once."""
    return _typst().Fonts()


def _harmless(found: Any) -> Any:
    if isinstance(found, str):
        return shown_lines(found)
    if isinstance(found, Mapping):
        return {str(key): _harmless(one) for key, one in found.items()}
    return [_harmless(one) for one in found] if isinstance(found, list | tuple) else found
