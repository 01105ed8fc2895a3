"""What an emergency kit says of a site: its configuration, people, repositories and addresses as they are now."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import opsctl
from opsctl.errors import OpsError, SafetyRefusal
from opsctl.kit.pages import Facts
from opsctl.model.kit import Present, stale
from opsctl.model.people import fingerprint, roll_of
from opsctl.model.snapshots import parse_time
from opsctl.repositories.whole import write_whole
from opsctl.wiring.site import Site

_LAST = "kit.json"
_COMPARED = ("configuration", "people")
#: As ``kit check`` takes it where nothing is said.
MOST = timedelta(days=90)


class KitFacts:
    """The site as a kit holds it. Constructors store and nothing more."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @functools.cached_property
    def code(self) -> Path:
        """The tree that opsctl runs from. SafetyRefusal where it was not set up by ``bootstrap.py``, and lacks its lock file."""
        found = Path(opsctl.__file__).resolve().parents[1]
        if not (found / "configs" / "requirements.lock").is_file():
            raise SafetyRefusal(f"{found} holds no lock file, so no kit can be built from it",
                                hint="set opsctl up with bootstrap.py, from its source tree")
        return found

    @property
    def lock(self) -> Path:
        return self.code / "configs" / "requirements.lock"

    def copy_configuration(self, place: Path) -> dict[str, Any]:
        from opsctl.engine.carried import put_configuration

        return put_configuration(self.site.config, place)

    def put_pinned(self, place: Path) -> None:
        from opsctl.engine.carried import put_pinned

        put_pinned(self.site.state / "repositories", place)

    def public_keys(self) -> dict[str, str]:
        """Lines of ``.pub`` files by their name in the kit."""
        found = {f"people/{name}.pub": f"{one.ssh_key}\n" for name, one in self.site.config.people.items() if one.ssh_key}
        for path in sorted(self.site.keys_directory.glob("*.pub")):
            found[path.name] = path.read_text()
        return found

    def fingerprints(self) -> list[str]:
        """A line for each key, and one for all people together."""
        lines = [f"{self.site.fingerprint(text)}  {name}" for name, text in sorted(self.public_keys().items())]
        return [*lines, *([f"{self.people_fingerprint}  all people together (opsctl people list)"] if self.people_fingerprint else [])]

    @property
    def people_fingerprint(self) -> str:
        roll = roll_of(self.site.config.people)
        return fingerprint(roll) if roll else ""

    def present(self) -> Present:
        """The digests that a kit is compared by."""
        return Present(
            opsctl=opsctl.__version__, lock=_digest(self.lock), configuration=self.configuration(), people=self.people(),
            repositories={name: str(known.id) for name in self.site.config.repositories
                          if (known := self.site.history(name).pinned()) is not None})

    def remember(self, record: Mapping[str, Any], into: str) -> None:
        """Keep of which configuration and people a kit was built last, and where."""
        held = {"time": record["time"], "into": into, **{key: record["present"][key] for key in _COMPARED}}
        write_whole(self.site.place / _LAST, json.dumps(held, indent=1).encode() + b"\n")

    def outdated(self, known: Mapping[str, Any]) -> list[str]:
        """What of the kit that was built last is no longer so, one sentence each; repositories and programs ``kit check`` looks at."""
        then = {**dict.fromkeys(("opsctl", "lock"), ""), "repositories": {}, **{key: known[key] for key in _COMPARED}}
        return list(stale({"time": known["time"], "present": then}, Present("", "", self.configuration(), self.people(), {}), self.site.clock(), MOST))

    def configuration(self) -> dict[str, str]:
        """The digest of each file of the configuration."""
        from opsctl.engine.carried import configuration_files

        return {name: _digest(path) for name, path in configuration_files(self.site.config)}

    def people(self) -> dict[str, str]:
        """The digest of what each of the people may."""
        return {name: hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest() for name, one in roll_of(self.site.config.people).items()}

    def addresses(self) -> tuple[list[str], list[str]]:
        """Lines as ``/etc/hosts`` has them for every name in the configuration, and the names that nobody knows now."""
        from opsctl.shells.resolve import resolved

        lines: list[str] = []
        unknown: list[str] = []
        for name, what in sorted(set(self._names())):
            try:
                found = resolved(name)
            except OpsError:
                unknown.append(name)
                lines.append(f"# {name}: nobody knew its address  # {what}")
                continue
            lines += [f"{address}\t{name}\t# {what}" for address in found if address != name]
        return lines, unknown

    def _names(self) -> Iterator[tuple[str, str]]:
        for name, host in self.site.config.hosts.items():
            if host.address:
                yield host.address, f"host {name}"
        for name, spec in self.site.config.repositories.items():
            if not spec.local:
                parts = urlsplit(spec.url.removeprefix("rest:").removeprefix("s3:"))
                place = parts.hostname or spec.url.removeprefix("sftp:").rpartition("@")[2].partition(":")[0]
                if place:
                    yield place, f"repository {name}"

    def facts(self, made: str) -> Facts:
        """What the pages to print are filled with."""
        config = self.site.config
        keys = {name: self.site.fingerprint(one.ssh_key) if one.ssh_key else "" for name, one in config.people.items()}
        removable = [name for name, spec in config.repositories.items() if spec.removable]
        local = [*removable, *(name for name, spec in config.repositories.items() if spec.local)]
        source = next(iter(local or config.repositories), "NAME")
        url = config.repositories[source].url if source in config.repositories else "URL"
        pinned = self.present().repositories
        return Facts(
            organisation=config.organisation.name, made=made, fingerprint=self.site.own_fingerprint or "", people_fingerprint=self.people_fingerprint,
            state=str(self.site.state), backups=list(config.backups), repository=url, source=source,
            people=[_row(name_of.name, ", ".join(name_of.roles), name_of.phone, name_of.email, keys[name])
                    for name, name_of in config.people.items()],
            hosts=[_row(name, host.address, host.zone, host.by_hand if host.isolation == "none" else "") for name, host in config.hosts.items()],
            repositories=[_row(name, spec.url, pinned.get(name, "")) for name, spec in config.repositories.items()])


def last(site: Site) -> dict[str, Any] | None:
    """What is kept of the kit that was built here last; None where nothing is, or nothing that this version knows."""
    try:
        found = json.loads((site.place / _LAST).read_text())
        parse_time(found["time"])
        return found if all(isinstance(found[key], dict) for key in _COMPARED) and isinstance(found["into"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(*cells: Any) -> Sequence[str]:
    return ["" if cell is None else str(cell) for cell in cells]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
