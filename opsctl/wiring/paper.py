"""The last receipts, asked of restored data by the configured query: of a clean room, or of the database that came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsctl.errors import ConfigError, SafetyRefusal, UsageError
from opsctl.model.unknown import unknown

if TYPE_CHECKING:
    from opsctl.wiring.site import Site


def last_receipts(site: Site, room: str) -> tuple[str, list[list[str]]]:
    """Where it was asked, and rows of body, series, number, date. ``room``: the name of a clean room; empty: the source's own database.

    UsageError where no query is configured or the room does not hold its source, SafetyRefusal where it was not proven there.
    """
    spec = site.config.paper.last_receipt
    if spec is None:
        raise UsageError("no query for the last receipts is configured", hint="paper: {last_receipt: {source: …, query: SELECT …}}; or --restored FILE.csv")
    if not room:
        source = site.source(spec.source)
        return f"the database of source {spec.source}, as it is now", _fitting(source.rows(spec.query))
    from opsctl.wiring.rooms import clean_room, rooms

    there = {one.name: one for one in rooms(site)}
    if room not in there:
        raise unknown("clean room", room, there, hint="opsctl restore rooms; opsctl restore room BACKUP --set ID makes one")
    restored = there[room].record.get("sources", {})
    if spec.source not in restored:
        raise UsageError(f"the clean room {room} does not hold {spec.source}", hint=f"it holds {', '.join(restored) or 'nothing'}")
    found = restored[spec.source]
    if not found.get("proven"):
        raise SafetyRefusal(f"{spec.source} was not proven in the clean room {room}", hint="opsctl restore room BACKUP --set ID says why")
    entry = {"kind": site.config.sources[spec.source].kind, **{key: said for key, said in found.items() if key != "proven"}}
    inside = clean_room(site, room, "")
    inside.enter()
    try:
        from opsctl.sources.clean_room import DATABASE

        with inside.server(spec.source, entry) as server:
            rows = inside.database(spec.source, entry).rows(spec.query, database=DATABASE, server=server)
    finally:
        inside.leave()
    return f"{spec.source} of set {there[room].record.get('set', '?')}, proven in the clean room {room}", _fitting(rows)


def _fitting(rows: list[list[str]]) -> list[list[str]]:
    """Rows with body, series, number and a day, which may be empty."""
    if rows and len(rows[0]) not in (3, 4):
        raise ConfigError(f"the query for the last receipts answers with {len(rows[0])} columns", hint="paper: last_receipt: query: body, series, number and, "
                          "where it is known, date")
    return [[*row, ""][:4] for row in rows]
