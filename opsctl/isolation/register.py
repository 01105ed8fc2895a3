"""What this machine has cut off and not yet released: what `isolate status` and the timer hold the hosts against."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsctl.model.isolation import Mark, Opening, Order
from opsctl.model.values import value
from opsctl.repositories.whole import write_whole


@value
class Shown:
    """What probes of a host that is cut off showed last: ``proven``, ``partial`` or ``open``, what got through, a sentence each, and when (RFC 3339).

    ``ports``: those of the host that answered, which are tried again whether anything is served there or not; ``places``: from where.
    """

    verdict: str
    findings: tuple[str, ...]
    at: str
    ports: tuple[int, ...] = ()
    places: tuple[str, ...] = ()


@value
class Entry:
    """A host that is to be cut off. ``stage``: ``ordered`` before anything is loaded, ``confirmed``, or ``releasing``.

    ``seal`` is that of the rules as they were confirmed; ``keep``: what is lifted is to be cut off again.
    ``login``: of a host that no configuration holds, how to log in. ``shown`` stands until a later proof.
    """

    host: str
    driver: str
    order: Order
    stage: str = "ordered"
    seal: str | None = None
    keep: bool = False
    login: str = ""
    shown: Shown | None = None


class Register:
    """``isolated/NAME.json`` in the state directory, one a host, each written whole.

    ``behind`` is one that is only read, and the newer of two entries counts: with ``--break-glass`` that of the state directory,
    otherwise that of a spool which nobody took in yet.
    """

    def __init__(self, directory: Path, behind: Path | None = None) -> None:
        self.directory = directory
        self.behind = behind

    def put(self, entry: Entry) -> None:
        """Raises ProgramFailed where it cannot be written."""
        write_whole(self._path(entry.host), json.dumps(entry, default=vars).encode() + b"\n")

    def get(self, host: str) -> Entry | None:
        """The entry of a host; None where there is none, or none that can be read."""
        try:
            return self._read(host)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def unreadable(self) -> Iterator[str]:
        """Hosts of which something is written down that cannot be read: a spoilt file, or a newer version's."""
        for name in self._names():
            try:
                self._read(name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                yield name

    def _read(self, host: str) -> Entry | None:
        newest = here = self._path(host)
        if self.behind is not None:
            there = [path for path in (here, self.behind / here.name) if path.exists()]
            newest = max(there, key=lambda path: path.stat().st_mtime_ns, default=here)
        said = json.loads(newest.read_text())
        return None if said is None else _entry(said)

    def _names(self) -> list[str]:
        places = [place for place in (self.directory, self.behind) if place is not None]
        return sorted({path.stem for place in places for path in place.glob("*.json")})

    def all(self) -> Iterator[Entry]:
        """Every entry, by host."""
        for name in self._names():
            entry = self.get(name)
            if entry is not None:
                yield entry

    def stage(self, host: str, stage: str, seal: str | None = None) -> None:
        """Set the stage of an entry that is there."""
        entry = self.get(host)
        if entry is not None:
            self.put(replace(entry, stage=stage, seal=seal or entry.seal))

    def drop(self, host: str) -> None:
        if self.behind is not None and (self.behind / self._path(host).name).exists():
            write_whole(self._path(host), b"null\n")  # no entry, and none behind it
        else:
            self._path(host).unlink(missing_ok=True)

    def _path(self, host: str) -> Path:
        return self.directory / f"{host}.json"


def _entry(data: dict[str, Any]) -> Entry:
    order = data["order"]
    order = Order(**{**order, "mark": Mark(**order["mark"]), "managers": tuple(order["managers"]),
                     **{name: tuple(Opening(**one) for one in order.get(name, ())) for name in ("allow", "opened")}})
    shown = data.get("shown")
    return Entry(**{**data, "order": order, "shown": Shown(**{**shown, **{name: tuple(shown.get(name, ())) for name in ("findings", "ports", "places")}}) if shown else None})
