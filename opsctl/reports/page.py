"""Pages: one self-contained HTML file each, with nothing from elsewhere, harmless whatever the texts in it say.

A page is a template beside this module that extends ``page.html``, or text that does:

    {% extends "page.html" %}
    {% block body %}<p>{{ note }}</p>{% endblock %}
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsctl.model.safe_text import shown_lines

FOLDER = Path(__file__).parent
LANGUAGES = {"en": "English", "hi": "हिन्दी"}
DRILL = {"en": "DRILL: this is an exercise, nothing of it is real", "hi": "अभ्यास: यह केवल एक अभ्यास है, इसमें कुछ भी वास्तविक नहीं है"}


def page(template: str, *, title: str, language: str, drill: bool, also: str = "", **data: Any) -> bytes:
    """A template's page as UTF-8. ``template`` is the name of a file here, or the text itself where it has a ``{%``.

    Everything in ``data`` that is text is escaped, and what a browser would obey (control characters, marks that turn the
    direction of writing) is written out; lines stay lines. ``also``: the folder of more templates. The template finds
    ``language`` and ``drill`` beside its data.
    """
    made = environment(also)
    found = made.from_string(template) if "{%" in template else made.get_template(template)
    return found.render({"title": title, "language": language, "drill": drill, "drill_says": _drill(language), **data}).encode()


@functools.cache
def environment(also: str = "") -> Any:
    """Jinja as all pages use it: escaping everything, and refusing a name that is not there."""
    import jinja2
    from markupsafe import Markup

    def harmless(found: Any) -> Any:
        return shown_lines(found) if isinstance(found, str) and not isinstance(found, Markup) else found

    folders = [str(FOLDER), *([also] if also else [])]
    return jinja2.Environment(loader=jinja2.FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined, finalize=harmless)


def _drill(language: str) -> Mapping[str, str]:
    """The banner's sentence in the page's language first, as (language, sentence) pairs."""
    return {one: DRILL[one] for one in sorted(DRILL, key=lambda each: each != language)}
