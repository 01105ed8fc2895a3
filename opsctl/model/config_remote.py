"""What has to agree where a source is on another machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from opsctl.model.fields import WAYS, Mistake, entries, mapping, shown
from opsctl.model.hosts import unknown_host

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_REACHABLE = ("rest:", "s3:")

Place = tuple[str | int, ...]


def remote_mistakes(data: Any) -> Iterator[Mistake]:
    """Hosts that are not there or are not logged into, keys that mean something else on another machine, and
    repositories that a host would share with others."""
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
        if kind == "paths" and run == "controller":
            yield (
                (*place, "run"),
                "files are backed up by restic on their own machine (run: host); where it cannot have restic, a stream is a "
                "source of kind: command with argv: [tar, --create, --file=-, …]",
            )
        elif kind != "paths" and run == "host":
            yield (*place, "run"), "is for kind: paths; a dump streams through SSH to restic on this machine (run: controller)"
        if kind == "command" and entry.get("spool") is not None:
            yield (*place, "spool"), "is for programs on this machine; on another one let it write to standard output"
        if kind in ("postgresql", "mariadb") and entry.get("cacert") is not None:
            yield (*place, "cacert"), "is for programs on this machine; on another one they run beside their server"
        yield from _relative_paths(place, entry)
    yield from _shared_repositories(data)


def programs_as_root(source: Any) -> tuple[str, ...]:
    """What a source on another machine runs there as root, beside restic, where that machine is ``become: sudo``."""
    if source.kind == "paths":
        return ("stat", "ls")
    if source.kind == "sqlite":
        return ("python3",)
    if source.kind == "mariadb" and source.password is None and source.user == "root":
        return ("mariadb", "mariadb-dump")
    return ()


def _relative_paths(place: Place, entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """On this machine they start at the configuration; another one has none. A ~ is refused for itself, and once is enough."""
    found: list[tuple[Place, Any]] = []
    if entry.get("kind") == "sqlite":
        found = [((*place, "path"), entry.get("path"))]
    elif entry.get("kind") == "paths":
        listed = entry.get("paths")
        found = [((*place, "paths", number), path) for number, path in enumerate(listed if isinstance(listed, list) else [])]
        found.append(((*place, "mountpoint"), entry.get("mountpoint")))
    for where, path in found:
        if isinstance(path, str) and not path.startswith(("/", "~")):
            yield where, "must be absolute: it is a path of another machine"


def _shared_repositories(data: Any) -> Iterator[Mistake]:
    """A host that runs restic has the keys of its repository: whoever has the host has all that they open."""
    sources, repositories = mapping(data, "sources"), mapping(data, "repositories")
    writers = _writers(data, sources)
    for backup, entry in entries(data, "backups"):
        repository = entry.get("repository")
        for name in _names(entry.get("sources")):
            source = mapping(sources, name)
            host = source.get("host")
            if source.get("kind") != "paths" or not isinstance(host, str) or not isinstance(repository, str):
                continue
            spec = mapping(repositories, repository)
            if not spec:
                continue
            yield from _unreachable(("backups", backup, "repository"), repository, spec, host)
            others = sorted(writers.get(repository, set()) - {host})
            if others:
                yield (
                    ("backups", backup, "repository"),
                    f"restic on {host} writes into {repository} (source {name}), which also holds what is of "
                    f"{', '.join(others)}: a host that runs restic has a repository of its own, or whoever has the host has both",
                )
            yield from _shared_keys(repository, spec, host, repositories, writers)


def _writers(data: Any, sources: Mapping[str, Any]) -> dict[str, set[str]]:
    """The machines whose data each repository holds, or is to hold as a copy."""
    found: dict[str, set[str]] = {}
    for _, entry in entries(data, "backups"):
        machines = {_machine(mapping(sources, name)) for name in _names(entry.get("sources"))}
        for repository in (entry.get("repository"), *_names(entry.get("copies"))):
            if isinstance(repository, str):
                found.setdefault(repository, set()).update(machines)
    return found


def _machine(source: Mapping[str, Any]) -> str:
    host = source.get("host")
    return host if isinstance(host, str) else "this machine"


def _names(listed: Any) -> list[str]:
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _unreachable(place: Place, name: str, spec: Mapping[str, Any], host: str) -> Iterator[Mistake]:
    url = spec.get("url")
    if not isinstance(url, str):
        return
    if not url.startswith(_REACHABLE):
        yield place, (f"restic runs on {host}, which cannot reach {shown(url)} ({name}): it needs a repository of its own at "
                      "an address, such as rest:https://backup-1:8000/app-1")
    elif url.startswith("rest:"):
        if (parts := _rest(url)) is not None and parts.hostname in _LOOPBACK:
            yield place, f"restic runs on {host}, where {shown(url)} ({name}) is that machine itself; give the store's address"
        elif spec.get("user") is None:
            yield ("repositories", name), (f"restic runs on {host} with its credentials: they need a user of its own at the "
                                           "REST server (user: and secret_file:), which reaches nothing else")


def _shared_keys(
    name: str, spec: Mapping[str, Any], host: str, repositories: Mapping[str, Any], writers: Mapping[str, set[str]]
) -> Iterator[Mistake]:
    for other in repositories:
        theirs = mapping(repositories, other)
        if other == name or writers.get(other) == {host}:
            continue
        known = [_named(key, value) for key, value in theirs.items() if _is_secret(key, value)]
        for key, value in spec.items():
            same = value is not None and theirs.get(key) == value
            if key == "user":
                same = same and _server(spec) == _server(theirs)
            if (same and key in ("user", "url")) or (_is_secret(key, value) and _named(key, value) in known):
                yield (
                    ("repositories", name, str(key)),
                    f"is that of {other}, too: restic on {host} gets it, and whoever has {host} then has {other}",
                )


def _is_secret(key: Any, value: Any) -> bool:
    return value is not None and isinstance(key, str) and key.endswith(tuple(f"_{way}" for way in WAYS))


def _named(key: str, value: Any) -> tuple[str, Any]:
    """Which secret a key names, however it spells it: a file may be the password here and the login there."""
    way = key.rpartition("_")[2]
    return way, os.path.normpath(value) if way == "file" and isinstance(value, str) else value


def _server(spec: Mapping[str, Any]) -> str:
    url = spec.get("url")
    parts = _rest(url) if isinstance(url, str) else None
    return parts.netloc if parts is not None else ""


def _rest(url: str) -> SplitResult | None:
    """The parts of an address; None where it cannot be read, which is told of itself."""
    try:
        return urlsplit(url.removeprefix("rest:"))
    except ValueError:
        return None
