"""The order to work on paper, a page for each body: facts of the configuration and the incident, and blanks where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError, Partial
from opsctl.model.config_bodies import Body, Paper
from opsctl.model.incident import Incident
from opsctl.model.paper_orders import PaperOrder, given
from opsctl.model.safe_text import shown_lines
from opsctl.reports.page import DRILL, page

BLANK = "_" * 24
PART = 50
"""Pages of one PDF: hundreds in one take a gigabyte to set."""
_TEXTS = Path(__file__).with_suffix(".yaml")


def files(
    order: PaperOrder, found: Incident, bodies: Mapping[str, Body], paper: Paper, *, organisation: str, languages: Sequence[str], contact: str,
    zone: tzinfo, at: datetime,
) -> tuple[dict[str, bytes], list[OpsError]]:
    """Text, page and PDF in each language, by the end of their names (``en.txt``; ``en-1.pdf`` of several); Partial for each PDF that could not be made."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    texts = yaml.safe_load(_TEXTS.read_text("utf-8"))
    made: dict[str, bytes] = {}
    errors: list[OpsError] = []
    for language in languages:
        words = texts[language]
        data = _data(order, found, bodies, paper, words, organisation, language, contact, zone, at)
        made[f"{language}.txt"] = _text(data, found.drill, language).encode()
        made[f"{language}.html"] = page("paper_order.html", title=words["title"], language=language, drill=found.drill, **data)
        try:
            from opsctl.reports.typeset import pdf

            parts = [data["bodies"][start:start + PART] for start in range(0, len(data["bodies"]), PART)]
            for number, part in enumerate(parts, 1):
                name = f"{language}.pdf" if len(parts) == 1 else f"{language}-{number}.pdf"
                made[name] = pdf("paper_order.typ", {**data, "bodies": part}, title=words["title"], language=language, drill=found.drill, at=at)
        except Partial as error:
            errors.append(error)
    return made, errors


def _data(
    order: PaperOrder, found: Incident, bodies: Mapping[str, Body], paper: Paper, words: Mapping[str, Any], organisation: str, language: str,
    contact: str, zone: tzinfo, at: datetime,
) -> dict[str, Any]:
    hindi = language == "hi"
    ranges = given(found)
    by_body: dict[str, list[list[str]]] = {}
    for one in ranges:
        if one.order == order.id:
            by_body.setdefault(one.body, []).append([one.series, str(one.first), str(one.last)])

    def page_of(name: str) -> dict[str, Any]:
        spec = bodies.get(name)
        own = [[series, "", ""] for series in spec.series] if spec is not None and spec.series else [["", "", ""]]
        return {"id": name, "name": (spec.name_hi if hindi else None) or spec.name if spec is not None else name,
                "counters": ", ".join(spec.counters) if spec is not None else "", "ranges": sorted(by_body.get(name, [])) or own}

    services = [{"name": _called(one, paper, hindi), "extended": _day(order.extend.get(one, ""))} for one in order.services]
    until = f"{order.until:%d/%m/%Y}" if order.until else words["further"]
    return {
        "words": words, "organisation": organisation, "number": order.number, "incident": found.id, "services": services, "contact": contact,
        "signatory": (paper.signatory_hi if hindi else None) or paper.signatory or "", "bodies": [page_of(name) for name in order.bodies],
        "from_": words["from"].format(since=_stamp(order.since, zone), until=until),
        "draft": words["draft"].format(version=order.version, at=_stamp(at, zone))}


def _called(name: str, paper: Paper, hindi: bool) -> str:
    spec = paper.services.get(name)
    return (spec.name_hi if hindi else None) or spec.name if spec is not None else name


def _stamp(moment: datetime, zone: tzinfo) -> str:
    here = moment.astimezone(zone)
    offset = f"{here:%z}"
    return f"{here:%d/%m/%Y %H:%M} {here:%Z} (UTC{offset[:3]}:{offset[3:]})"


def _day(text: str) -> str:
    """``2027-01-15`` as offices write it."""
    return "/".join(reversed(text.split("-"))) if text else ""


def _text(data: Mapping[str, Any], drill: bool, language: str) -> str:
    """To be read out or sent as a message; one body after the other."""
    words = data["words"]
    parts = []
    for body in data["bodies"]:
        lines = [*([DRILL[language], ""] if drill else []), data["organisation"], words["title"].upper(), "",
                 f"{words['number']}: {data['number'] or BLANK}", f"{words['dated']}: {BLANK}", f"{words['incident']}: {data['incident']}",
                 f"{words['to']}: {body['name']} ({body['id']})", f"{words['counters']}: {body['counters'] or BLANK}", "", data["from_"],
                 *(f"  - {one['name']}" for one in data["services"]), "", words["receipts"], words["receipts_say"],
                 *("  " + ", ".join(f"{name}: {cell or BLANK}" for name, cell in zip(words["ranges"], row, strict=True)) for row in body["ranges"]), "",
                 words["register"], words["register_say"], "", words["due"], words["due_say"],
                 *(f"  {one['name']}: {one['extended'] or BLANK}" for one in data["services"]), "", words["reopening"],
                 f"{words['questions']}: {data['contact'] or BLANK}", "", f"{words['signature']}: {BLANK}",
                 *(f"{one}: {data['signatory'] if place == 1 and data['signatory'] else BLANK}" for place, one in enumerate(words["signed"])), "", data["draft"]]
        parts.append("\n".join(shown_lines(line) for line in lines) + "\n")
    return "\f".join(parts)
