"""The files in a set, one after the other as the repository tells of them: what ``backup show SET --files`` lists."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Listing
from opsctl.errors import UsageError
from opsctl.model.sets import inside, origin_of

if TYPE_CHECKING:
    from opsctl.cli.sets import Held
    from opsctl.wiring import Site

#: As `ls -l` begins a line.
_LETTERS = {"file": "-", "dir": "d", "symlink": "l"}


def listing(site: Site, chosen: Sequence[Held], path: str | None) -> Listing:
    """What the sets hold at a path and below it, or all that they hold."""
    from opsctl.model.moments import local
    from opsctl.model.quantities import format_size
    from opsctl.model.snapshots import parse_time

    zone, several = site.config.organisation.tz, len(chosen) > 1

    def line(entry: Mapping[str, Any]) -> str:
        size = format_size(entry["size"]) if entry["type"] == "file" else ""
        shown = f"{entry['path']}/" if entry["type"] == "dir" and entry["path"] != "/" else entry["path"]
        of = f"{entry['backup']}  " if several else ""
        kind = _LETTERS.get(entry["type"], "?")
        return f"{of}{kind}{stat.filemode(entry['mode'])[1:]}  {size:>8}  {local(parse_time(entry['mtime']), zone)}  {shown}"

    return Listing("files", _entries(site, chosen, path), line)


def _entries(site: Site, chosen: Sequence[Held], path: str | None) -> Iterator[Mapping[str, Any]]:
    found = False
    for held in chosen:
        repository = site.history(held.places[0].repository).repository
        for source, entry in _sources(held).items():
            wanted = inside(entry, path) if path is not None else None
            if path is not None and wanted is None:
                continue
            own, origin = origin_of(entry)
            for node in repository.ls(entry["snapshot"], wanted):
                if node.path == "/":
                    continue
                found = True
                yield {"backup": held.view.backup, "source": source, "path": origin if node.path == own else node.path,
                       "type": node.type, "size": node.size, "mode": node.mode & 0o777, "mtime": node.mtime}
    if path is not None and not found:
        raise UsageError(f"set {chosen[0].view.id} holds no {path}", hint=f"opsctl backup show {chosen[0].view.id} --files")


def _sources(held: Held) -> Mapping[str, Mapping[str, Any]]:
    """What the manifest says of each source; of a set without one, where its snapshots are."""
    return held.view.sources or {name: {"snapshot": snapshot, "paths": ["/"]} for name, snapshot in held.view.snapshots.items()}
