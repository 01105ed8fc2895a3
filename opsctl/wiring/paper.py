"""The last receipts, asked of restored data by the configured query: of a clean room, or of the database that came back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import ConfigError, DamagedData, SafetyRefusal, UsageError
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
        if site.config.sources[spec.source].kind == "sqlite" and site.config.sources[spec.source].host is not None:
            raise UsageError(f"{spec.source} is a file of another machine, and is not asked there", hint="--room ROOM asks it in a clean room; or --restored FILE.csv")
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
        if entry["kind"] == "sqlite":
            return _origin(spec.source, there[room]), _fitting(_of_file(site, spec.source, spec.query, inside.files(spec.source)))
        from opsctl.sources.clean_room import DATABASE

        with inside.server(spec.source, entry) as server:
            rows = inside.database(spec.source, entry).rows(spec.query, database=DATABASE, server=server)
    finally:
        inside.leave()
    return _origin(spec.source, there[room]), _fitting(rows)


def _origin(source: str, room: Any) -> str:
    return f"{source} of set {room.record.get('set', '?')}, proven in the clean room {room.name}"


def _of_file(site: Site, source: str, query: str, folder: Path) -> list[list[str]]:
    """The one file that a source was restored to, asked."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    if len(files) != 1:
        raise DamagedData(f"{source} is {len(files)} files in the clean room, and not one", where=str(folder), hint="opsctl restore room BACKUP --set ID makes another")
    found: list[list[str]] = site.source(source).rows(query, file=files[0])
    return found


def _fitting(rows: list[list[str]]) -> list[list[str]]:
    """Rows with body, series, number and a day, which may be empty."""
    if rows and len(rows[0]) not in (3, 4):
        raise ConfigError(f"the query for the last receipts answers with {len(rows[0])} columns", hint="paper: last_receipt: query: body, series, number and, "
                          "where it is known, date")
    return [[*row, ""][:4] for row in rows]
