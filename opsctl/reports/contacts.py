"""The contact sheet to print: whom the protocol names, marked by how sure each is, and the people of the configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError, Partial
from opsctl.model.safe_text import shown_lines
from opsctl.protocols.cert_in import Protocol
from opsctl.reports.page import page

_TEXTS = Path(__file__).with_suffix(".yaml")
_WAYS = (("incident_email", ""), ("phone_toll_free", ""), ("fax_toll_free", "fax "), ("general_email", ""), ("general_phone", ""), ("website", ""),
         ("form_url", ""), ("postal", ""))
BLANK = "_" * 18


def files(
    known: Protocol, people: Mapping[str, Any], organisation: str, *, languages: Sequence[str], zone: tzinfo, at: datetime
) -> tuple[dict[str, bytes], list[OpsError]]:
    """Text, page and PDF in each language, by their names; Partial for each PDF that could not be made."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    texts = yaml.safe_load(_TEXTS.read_text("utf-8"))
    made: dict[str, bytes] = {}
    errors: list[OpsError] = []
    for language in languages:
        words = texts[language]
        stamp = f"{at.astimezone(zone):%d/%m/%Y %H:%M %Z}"
        data = {"made": words["made"].format(organisation=organisation, at=stamp), "tables": _tables(known, people, organisation, words)}
        made[f"contacts.{language}.txt"] = _text(words["title"], data).encode()
        made[f"contacts.{language}.html"] = page("contacts.html", title=words["title"], language=language, drill=False, **data)
        try:
            from opsctl.reports.typeset import pdf

            made[f"contacts.{language}.pdf"] = pdf("contacts.typ", data, title=words["title"], language=language, drill=False, at=at)
        except Partial as error:
            errors.append(error)
    return made, errors


def digest(known: Protocol, people: Mapping[str, Any]) -> str:
    """Of everything that stands on the sheet, so that an older print shows."""
    said = {"contacts": {name: dict(one) for name, one in known.contacts.items()},
            "people": {name: [one.name, list(one.roles), one.phone, one.email] for name, one in people.items()}}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _tables(known: Protocol, people: Mapping[str, Any], organisation: str, words: Mapping[str, Any]) -> list[dict[str, Any]]:
    bodies = [[one["name"], one["role"] + (f" ({words['only']} {one['applies_if']})" if one.get("applies_if") else ""), _ways(one, words), _sure(one, words)] for one in known.contacts.values() if "role" in one]
    ours = [[one.name, ", ".join(one.roles), one.phone or BLANK, one.email or BLANK] for one in people.values()]
    poc = next((one for one in people.values() if "point-of-contact" in one.roles), None)
    filled = {"name": poc.name, "organisation": organisation, "email": poc.email, "mobile": poc.phone} if poc is not None else {"organisation": organisation}
    fields = known.raw["poc_fields"]
    details = [[one["label"], filled.get(one["key"]) or BLANK] for one in fields["fields"]]
    return [{"title": words["bodies"], "columns": words["columns"], "rows": bodies},
            *([{"title": words["people"], "columns": words["people_columns"], "rows": ours}] if ours else []),
            {"title": words["poc"].format(to=fields["send_to"]), "columns": words["poc_columns"], "rows": details}]


def _ways(one: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    ways = [f"{before}{one[key]}" + (f" ({words['unverified']})" if one.get(f"{key}_confidence") == "unverified" else "")
            for key, before in _WAYS if one.get(key)]
    return "\n".join(ways) or f"{BLANK} ({words['yours']})"


def _sure(one: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    sure = words["unverified"] if one["confidence"] != "verified" else words["verified"] if one.get("basis") == "primary" else words["secondary"]
    return f"{sure} ({', '.join(one['sources'])})"


def _text(title: str, data: Mapping[str, Any]) -> str:
    lines = [title.upper(), data["made"]]
    for one in data["tables"]:
        lines += ["", one["title"]]
        for row in one["rows"]:
            first, *rest = row
            lines += [f"  {first}: " + "; ".join(cell.replace("\n", ", ") for cell in rest if cell)]
    return "\n".join(shown_lines(line) for line in lines) + "\n"
