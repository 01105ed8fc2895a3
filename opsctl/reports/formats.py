"""A report as plain text, page, PDF, JSON and message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from opsctl.model.safe_text import shown_lines
from opsctl.reports.document import Document, Grid, Row
from opsctl.reports.page import DRILL, page
from opsctl.reports.typeset import pdf

_SUBJECT = 200
"""Letters of a title that a subject takes."""


def label(row: Row, language: str) -> str:
    """The official label is always there; Hindi stands before it."""
    return f"{row.hindi} ({row.label})" if language == "hi" and row.hindi else row.label


def as_text(found: Document) -> str:
    """To be read out on the telephone, or sent as it is."""
    lines = [DRILL[found.language] if found.incident.drill else "", found.title,
             *(f"{name}: {text}" for name, text in found.head), ""]
    for section in found.sections:
        lines += ["", section.title.upper() if found.language == "en" else section.title]
        for row in section.rows:
            number = f"{row.order:2}. " if row.order is not None else ""
            first, *more = (row.shown or found.unknown).splitlines() or [found.unknown]
            lines += [f"{number}{label(row, found.language)}: {first}", *(f"      {line}" for line in more)]
        lines += _grid(section.grid) if section.grid else []
    return shown_lines("\n".join(lines).strip()) + "\n"


def _grid(grid: Grid) -> list[str]:
    return ["; ".join(f"{column}: {' / '.join(cell.splitlines())}" for column, cell in zip(grid.columns, row, strict=True) if cell) for row in grid.rows]


def as_page(found: Document) -> bytes:
    return page("report.html", title=found.title, language=found.language, drill=found.incident.drill, **_plain(found))


def as_pdf(found: Document) -> bytes:
    """Raises Partial where typst or letters are missing."""
    return pdf("report.typ", _plain(found), title=found.title, language=found.language, drill=found.incident.drill, at=found.at)


def _plain(found: Document) -> dict[str, Any]:
    return {
        "head": [{"name": name, "text": text} for name, text in found.head], "unknown": found.unknown,
        "sections": [{"title": section.title,
                      "rows": [{"order": row.order, "label": row.label, "hindi": row.hindi if found.language == "hi" else None, "value": row.shown}
                               for row in section.rows],
                      "grid": {"columns": list(section.grid.columns), "rows": [list(row) for row in section.grid.rows]} if section.grid else None}
                     for section in found.sections]}


def as_json(found: Document, number: int) -> dict[str, Any]:
    """The same for programs; ``value`` is null where it is not yet known."""
    return {"report": found.report, "incident": found.incident.id, "drill": found.incident.drill, "draft": number, "drafted": found.at.isoformat(),
            "title": found.title, "head": dict(found.head), "notes": [{"name": name, "text": text} for name, text in found.notes], "to": found.to,
            "fields": [{"order": row.order, "section": section.name, "key": row.key, "label": row.label, "value": row.value, "doubt": row.doubt,
                        "source": row.source} for section in found.sections for row in section.rows],
            "tables": {section.name: {"columns": list(section.grid.columns), "rows": [list(row) for row in section.grid.rows]}
                       for section in found.sections if section.grid}}


def json_bytes(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def as_mail(found: Document, text: str, attached: Mapping[str, bytes]) -> bytes:
    """A message that a person sends; opsctl sends none. A recipient without a known address is left to them."""
    message = EmailMessage(policy=SMTP)
    if found.to:
        message["To"] = found.to
    if found.sender and not _breaks(found.sender):
        message["From"] = found.sender
    message["Subject"] = f"{'DRILL: ' if found.incident.drill else ''}{found.title}: {one_line(found.incident.title)} ({found.incident.id})"
    message["X-Unsent"] = "1"  # mail programs open it as a draft, with a button to send
    message["X-Opsctl-Drafted"] = found.at.isoformat()
    message.set_content(text)
    for name, content in attached.items():
        message.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def _breaks(address: str) -> bool:
    return not address.isprintable() or "@" not in address


def one_line(text: str) -> str:
    """Text as a header takes it: printable, without line ends."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_SUBJECT]
