"""What has to agree where a source is on another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsctl.model.fields import Mistake, entries, mapping
from opsctl.model.hosts import unknown_host

_FILES_LATER = (
    "files of another machine are not backed up by this version of opsctl; a stream of them is: kind: command with "
    "argv: [tar, --create, --file=-, …]"
)


def remote_mistakes(data: Any) -> Iterator[Mistake]:
    """Hosts that are not there or are not logged into, and keys that mean something else, or nothing, on another machine."""
    hosts = mapping(data, "hosts")
    for name, entry in entries(data, "sources"):
        place = ("sources", name)
        host, kind, run = entry.get("host"), entry.get("kind"), entry.get("run")
        if host is None:
            if run is not None:
                yield (*place, "run"), "is for a source with host: (on which machine restic runs)"
            continue
        if unknown := unknown_host(data, host):
            yield (*place, "host"), unknown
        system = mapping(hosts, host).get("os", "linux") if isinstance(host, str) else "linux"
        if system in ("windows", "appliance"):
            yield (*place, "host"), f"is os: {system}, which is not logged into"
        if kind == "paths":
            yield (*place, "host"), _FILES_LATER
        elif run == "host":
            yield (*place, "run"), "is for kind: paths; a dump streams through SSH to restic on this machine (run: controller)"
        if kind == "command" and entry.get("spool") is not None:
            yield (*place, "spool"), "is for programs on this machine; on another one let it write to standard output"
        yield from _relative_paths(place, entry)


def _relative_paths(place: tuple[str | int, ...], entry: Mapping[str, Any]) -> Iterator[Mistake]:
    path = entry.get("path") if entry.get("kind") == "sqlite" else None
    if isinstance(path, str) and not path.startswith(("/", "~")):
        yield (*place, "path"), "must be absolute: it is a path of another machine"
