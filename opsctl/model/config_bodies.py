"""Municipal bodies that go on working on paper, and what their receipts, services and lists are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from opsctl.model.fields import Line, Lines, Mistake, Name, Part, Shown, mapping, meant, shown
from opsctl.model.part import AfterValidator, Field, Strict

COLUMNS = ("body", "series", "number", "date", "service", "payer", "account", "amount", "counter", "remark")
"""What a list of receipts can hold."""
_SERIES = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9/-]{0,18}[A-Za-z0-9])?")


def series(value: str) -> str:
    """The name of a series of receipts; ValueError for anything else."""
    if _SERIES.fullmatch(value) is None:
        raise ValueError("must be the name of a series of receipts: letters, digits, hyphens and slashes, at most 20 of them")
    return value.upper()


Series = Annotated[str, AfterValidator(series), Shown("name of a series")]


class Body(Part):
    """A municipal body. The key of the entry is its id, as it stands in lists of receipts. `opsctl paper bodies FILE.csv` takes many in."""

    name: Line = Field(description="Its name, as it stands on orders.")
    name_hi: Line | None = Field(default=None, description="The same in Hindi.")
    counters: Lines = Field(default=(), description="Its counters, where receipts are given.")
    series: Annotated[tuple[Series, ...], Strict(False)] = Field(
        default=(), description="Its series of receipts, such as `IND-PT`. Where it has one, lists need not name it; where it has none, any is taken."
    )


class PublicService(Part):
    """A service to the public. The key of the entry is its name, as `public_services` of a zone has it."""

    name: Line = Field(description="What it is called on orders.")
    name_hi: Line | None = Field(default=None, description="The same in Hindi.")


class LastReceipt(Part):
    """How restored data is asked for the last receipt of each body and series."""

    source: Name = Field(description="The database; a source of kind `postgresql`, `mariadb` or `sqlite`.")
    query: Line = Field(
        description="One `SELECT` with the columns body, series, number and, where it is known, date; it is run read-only. Such as `SELECT body_id, "
        "series, max(number), max(paid_on) FROM receipts GROUP BY 1, 2`."
    )


class Paper(Part):
    """What work on paper needs to know."""

    services: dict[Name, PublicService] = Field(default_factory=dict, description="Services to the public, by name.")
    signatory: Line | None = Field(default=None, description="Who signs the order, as it stands below the line for the signature.")
    signatory_hi: Line | None = Field(default=None, description="The same in Hindi.")
    columns: dict[Line, Literal[
        "body", "series", "number", "date", "service", "payer", "account", "amount", "counter", "remark"]] = Field(
        default_factory=dict, description="Headings of your own lists, each with the column that it is, such as `{रसीद क्र.: number}`. The usual ones in "
        "English and Hindi are known."
    )
    last_receipt: LastReceipt | None = Field(default=None, description="How restored data is asked for the last receipts before the cut.")


def bodies_mistakes(data: Any) -> Iterator[Mistake]:
    """A query of something that is not there or is no database; ``data`` may have any shape."""
    last = mapping(mapping(data, "paper"), "last_receipt")
    name, sources = last.get("source"), mapping(data, "sources")
    place = ("paper", "last_receipt", "source")
    if isinstance(name, str) and name not in sources:
        yield place, f"there is no source {shown(name)}{meant(name, sources)}"
    elif isinstance(name, str) and mapping(sources, name).get("kind") not in ("postgresql", "mariadb", "sqlite", None):
        yield place, "must be a source of kind postgresql, mariadb or sqlite"
    query = last.get("query")
    if isinstance(query, str) and not re.match(r"(?i)\s*(select|with|table|values)\b", query):
        yield ("paper", "last_receipt", "query"), "must be one SELECT"


def services_known(paper: Paper, zones: Mapping[str, Any]) -> list[str]:
    """The names of all services to the public that the configuration has, those of zones too."""
    return list(dict.fromkeys([*paper.services, *(one for zone in zones.values() for one in zone.public_services)]))
