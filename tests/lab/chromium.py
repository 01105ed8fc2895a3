"""A real Chromium for tests of pages: what they ask for, what they complain of, and what axe-core finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsctl import programs


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser (playwright's), which ends with the block. While it runs, nothing else in this thread may run an event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=programs.find("chromium"))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page that was opened; ``asked``: the addresses that it asked for beside itself; ``complaints``: of console and scripts."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe-core finds, by its rule and the first place."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response
        assert len(found["passes"]) > 10, "axe-core has looked at nothing"
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}" for one in found["violations"]]

    def text(self) -> str:
        return " ".join(self.page.inner_text("body").split())


@contextmanager
def opened(browser: Any, file: Path, *, width: int = 1920, height: int = 1080, now: Any = None, fragment: str = "",
           **more: Any) -> Iterator[Opened]:
    """Open a file, at a ``fragment`` such as ``#60``; ``now`` sets the page's clock, which stands until it is moved; ``more`` is for playwright's context."""
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    try:
        page = context.new_page()
        found = Opened(page)
        page.on("request", lambda one: found.asked.append(one.url))
        page.on("console", lambda one: found.complaints.append(one.text))
        page.on("pageerror", lambda one: found.complaints.append(str(one)))
        page.on("dialog", lambda one: (found.complaints.append(one.message), one.dismiss()))
        if now is not None:
            page.clock.install(time=now)
        page.goto(file.as_uri() + fragment)
        assert found.asked.pop(0).partition("#")[0] == file.as_uri()
        yield found
    finally:
        context.close()
