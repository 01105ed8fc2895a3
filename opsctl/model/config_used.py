"""Which parts of a configuration something uses that people approve, each with a digest: whether it is still what they approved. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import rfc8785

from opsctl.model.part import Part
from opsctl.model.quantities import format_duration
from opsctl.model.statements import speakable

#: Parameters and keys that name an entry of a section.
_NAMES = {"backup": "backups", "source": "sources", "sources": "sources", "restores": "sources", "repository": "repositories",
          "copy_in": "repositories", "host": "hosts", "hosts": "hosts", "on": "hosts", "gateway": "hosts", "service": "services",
          "services": "services", "wave": "reopening"}
#: What of a service is used that is only stopped and started with another one, and of a backup when its sets are read.
_COMMANDS = ("on", "unit", "running", "stop", "start", "needs")
_PLACE = ("repository",)


def used(params: Iterable[Mapping[str, Any]], config: Any) -> dict[str, str]:
    """``sources.portal-db`` → SHA-256 (hex) of what the configuration says there, for all that these parameters name, and
    what that names in its turn. What is left to its default does not count, so that it holds across versions.

    Not ``people``: who may sign is what two people accepted (``wiring.people``), and each signature is weighed by that.
    """
    found: dict[tuple[str, str], Any] = {}
    todo = [(section, name) for one in params for section, name in _named(one)]
    while todo:
        section, name = todo.pop()
        if (section, name) in found or (entry := _section(config, section).get(name)) is None:
            continue
        found[section, name] = told = _given(entry)
        if section == "backups":
            found[section, name] = told = {key: told[key] for key in _PLACE if key in told}
        todo += _named({key: value for key, value in told.items() if key != "services"})  # those that a wave's watch looks at are named by its steps
    parts = {f"{section}.{name}": told for (section, name), told in found.items()}
    for name in _with_it({name for section, name in found if section == "services"}, config.services):
        told = _given(config.services[name])
        parts[f"services.{name}"] = {key: told[key] for key in _COMMANDS if key in told}
        parts |= {f"hosts.{host}": _given(config.hosts[host]) for host in (config.services[name].on,) if host in config.hosts}
    return {name: _digest(parts[name]) for name in sorted(parts)}


def changed(bound: Mapping[str, str], params: Iterable[Mapping[str, Any]], config: Any) -> list[str]:
    """The parts that are not what they were when they were bound, by name; none where nothing was bound."""
    if not bound:
        return []
    now = used(params, config)
    return [name for name in {**bound, **now} if bound.get(name) != now.get(name)]


def _named(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in told.items():
        if section := _NAMES.get(key):
            for name in (value,) if isinstance(value, str) else value if isinstance(value, list | tuple) else ():
                if isinstance(name, str):
                    yield section, name


def _section(config: Any, section: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = config.reopening.waves if section == "reopening" else getattr(config, section)
    return found


def _with_it(named: set[str], services: Mapping[str, Any]) -> list[str]:
    """The services that are stopped or started with these: what they need, and what needs them."""
    from opsctl.model.config_services import to_start, to_stop

    return [name for name in dict.fromkeys([*to_stop(named, services), *to_start(named, services)]) if name not in named]


def _given(value: Any) -> Any:
    """What the file says, without what it leaves to defaults."""
    if isinstance(value, Part):
        return {key: _given(inner) for key, inner in value._values().items() if key in value.model_fields_set or key in value.model_extra}
    if isinstance(value, Mapping):
        return {key: _given(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_given(inner) for inner in value]
    return format_duration(value) if isinstance(value, timedelta) else value


def _digest(told: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(speakable(told))).hexdigest()
