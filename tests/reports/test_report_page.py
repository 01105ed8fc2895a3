"""A report's page in a real browser: in its language, asking for nothing, running nothing, printable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.chromium import chromium, opened
from tests.reports.test_drafting import HOSTILE, drafted, facts, incident


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("language", ["en", "hi"])
def test_it_is_readable_and_accessible_and_asks_for_nothing(browser: Any, tmp_path: Path, language: str) -> None:
    name = f"closing-1.{language}.html"
    (tmp_path / name).write_bytes(drafted("closing", facts(incident(drill=True)), (language,)).files[name])
    with opened(browser, tmp_path / name, width=390, bypass_csp=True) as found:  # axe-core is a script, and the page allows none
        assert found.page.get_attribute("html", "lang") == language
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 390, "it scrolls sideways on a telephone"
        assert found.violations() == []
        assert found.asked == [] and found.complaints == []


def test_hostile_text_runs_nothing(browser: Any, tmp_path: Path) -> None:
    evil = f"{HOSTILE} <img src=x onerror=alert(2)> \"'><svg onload=alert(3)>"
    given = facts(incident(title=evil, fields={"operating_system": evil, "cost": evil}), hosts={evil: evil})
    for report in ("cert-in", "closing"):
        name = f"{report}-1.en.html"
        (tmp_path / name).write_bytes(drafted(report, given).files[name])
        with opened(browser, tmp_path / name) as found:
            assert found.asked == [] and found.complaints == []
            assert "<svg onload=alert(3)>" in found.text()


def test_the_page_allows_no_script_and_no_request_even_where_one_slipped_in(browser: Any, tmp_path: Path) -> None:
    content = drafted("cert-in").files["cert-in-1.en.html"].replace(b"</body>", b'<script>document.title = "ran"</script><img src="http://192.0.2.1/x"></body>')
    (tmp_path / "page.html").write_bytes(content)
    with opened(browser, tmp_path / "page.html") as found:
        assert found.page.title() != "ran"
        assert any("Content Security Policy" in one for one in found.complaints)


def test_hindi_is_drawn_with_letters_and_printed_on_paper(browser: Any, tmp_path: Path) -> None:
    name = "cert-in-1.hi.html"
    (tmp_path / name).write_bytes(drafted("cert-in", languages=("hi",)).files[name])
    with opened(browser, tmp_path / name) as found:
        session = found.page.context.new_cdp_session(found.page)
        session.send("DOM.enable")
        session.send("CSS.enable")
        root = session.send("DOM.getDocument")["root"]["nodeId"]
        heading = session.send("DOM.querySelector", {"nodeId": root, "selector": "h2"})["nodeId"]
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": heading})["fonts"]
        assert [one["familyName"] for one in fonts if "Devanagari" in one["familyName"] or "Lohit" in one["familyName"]], fonts
        assert found.page.pdf(path=str(tmp_path / "printed.pdf")).startswith(b"%PDF")
