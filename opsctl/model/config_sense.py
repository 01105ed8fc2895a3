"""What has to agree between several keys of a configuration, and what is allowed and looks wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opsctl.model.config_bodies import bodies_mistakes
from opsctl.model.config_canaries import canary_mistakes
from opsctl.model.config_clean_room import room_mistakes
from opsctl.model.config_command import command_mistakes
from opsctl.model.config_evidence import evidence_mistakes
from opsctl.model.config_isolation import isolation_mistakes
from opsctl.model.config_keep import keep_mistakes
from opsctl.model.config_notify import notify_mistakes
from opsctl.model.config_promotion import promotion_mistakes
from opsctl.model.config_remote import remote_mistakes
from opsctl.model.config_reopening import reopening_mistakes
from opsctl.model.config_restores import restores_mistakes
from opsctl.model.config_s3 import s3_mistakes
from opsctl.model.config_services import service_mistakes
from opsctl.model.config_source import hook_mistakes
from opsctl.model.fields import WAYS, Mistake, either, entries, mapping, meant, shown
from opsctl.model.hosts import host_doubts, host_mistakes
from opsctl.model.sftp import is_sftp

if TYPE_CHECKING:
    from opsctl.model.config import Config


def sense(data: Any) -> Iterator[Mistake]:
    """Unknown references, and secrets given twice or not at all; ``data`` may have any shape."""
    yield from _repository_mistakes(data)
    yield from _source_mistakes(data)
    yield from canary_mistakes(data)
    yield from _backup_mistakes(data)
    yield from keep_mistakes(data)
    yield from _people_mistakes(data)
    yield from host_mistakes(data)
    yield from isolation_mistakes(data)
    yield from room_mistakes(data)
    yield from service_mistakes(data)
    yield from restores_mistakes(data)
    yield from reopening_mistakes(data)
    yield from remote_mistakes(data)
    yield from evidence_mistakes(data)
    yield from notify_mistakes(data)
    yield from bodies_mistakes(data)


def _given(entry: Mapping[str, Any], prefix: str) -> list[str]:
    return [key for way in WAYS if entry.get(key := f"{prefix}_{way}") is not None]


def _repository_mistakes(data: Any) -> Iterator[Mistake]:
    for name, entry in entries(data, "repositories"):
        place = ("repositories", name)
        passwords, secrets = _given(entry, "password"), _given(entry, "secret")
        if len(passwords) > 1:
            yield (*place, passwords[1]), f"only one of {either(passwords)} can be given"
        if not passwords and "password" not in entry:
            yield place, f"the password is missing: one of {either(f'password_{way}' for way in WAYS)}"
        if len(secrets) > 1:
            yield (*place, secrets[1]), f"only one of {either(secrets)} can be given"
        yield from s3_mistakes(place, entry)
        url = entry.get("url")
        yield from _sftp_mistakes(place, entry)
        if isinstance(url, str) and is_sftp(url):
            for key in ("user", *secrets, "cacert"):
                if entry.get(key) is not None:
                    yield (*place, key), "is for a REST server; an SFTP server's user stands in its url, beside ssh_key_file"
        elif isinstance(url, str) and not url.startswith("rest:") and (url.startswith("s3:") or "://" not in url):
            for key in ("user", *secrets, *(() if url.startswith("s3:") else ("cacert",))):
                if entry.get(key) is not None:
                    yield (*place, key), "is for a REST server (url: rest:https://…) only"
        elif entry.get("user") is not None and not secrets and "secret" not in entry:
            yield (*place, "user"), f"needs its password: one of {either(f'secret_{way}' for way in WAYS)}"
        elif secrets and entry.get("user") is None:
            yield (*place, secrets[0]), "needs user beside it"


def _sftp_mistakes(place: tuple[str, str], entry: Mapping[str, Any]) -> Iterator[Mistake]:
    url = entry.get("url")
    if not isinstance(url, str):
        return
    if not is_sftp(url):
        for key in ("host_key", "ssh_key_file"):
            if entry.get(key) is not None:
                yield (*place, key), "is for an SFTP server (url: sftp:user@host:/path) only"
        return
    if entry.get("host_key") is None:
        yield place, ("host_key is missing: the line of the server's /etc/ssh/ssh_host_ed25519_key.pub, read on its own "
                      "console; a key is never trusted on first use")
    if entry.get("ssh_key_file") is None:
        yield place, "ssh_key_file is missing: the private key that the server lets in"
    if entry.get("append_only") is True:
        yield (*place, "append_only"), "an SFTP server refuses no deletion: who may write there may delete. rest-server can"


def _source_mistakes(data: Any) -> Iterator[Mistake]:
    for name, entry in entries(data, "sources"):
        if entry.get("kind") in ("postgresql", "mariadb") and entry.get("cacert") is not None:
            server = entry.get("server")
            if server is None or (isinstance(server, str) and server.startswith("/")):
                yield ("sources", name, "cacert"), "is for a server that is reached by its address; give it as server"
        passwords = _given(entry, "password") if entry.get("kind") in ("postgresql", "mariadb", "command") else []
        if len(passwords) > 1:
            yield ("sources", name, passwords[1]), f"only one of {either(passwords)} can be given"
        yield from hook_mistakes(name, entry)
        yield from promotion_mistakes(name, entry)
        if entry.get("kind") == "command":
            yield from command_mistakes(name, entry)


def _backup_mistakes(data: Any) -> Iterator[Mistake]:
    sources, repositories = mapping(data, "sources"), mapping(data, "repositories")
    for name, entry in entries(data, "backups"):
        place = ("backups", name)
        listed = entry.get("sources")
        seen: set[str] = set()
        for position, source in enumerate(listed if isinstance(listed, list) else []):
            if not isinstance(source, str):
                continue
            if source in seen:
                yield (*place, "sources", position), f"{shown(source)} is listed twice"
            elif source not in sources:
                yield (
                    (*place, "sources", position),
                    f"there is no source {shown(source)}{meant(source, sources)}",
                )
            seen.add(source)
        repository = entry.get("repository")
        if isinstance(repository, str) and repository not in repositories:
            yield (
                (*place, "repository"),
                f"there is no repository {shown(repository)}{meant(repository, repositories)}",
            )
        yield from _copy_mistakes(place, entry, repositories)


def _copy_mistakes(place: tuple[str | int, ...], entry: Mapping[str, Any], repositories: Mapping[str, Any]) -> Iterator[Mistake]:
    listed = entry.get("copies")
    seen: set[str] = set()
    for position, name in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(name, str):
            continue
        where = (*place, "copies", position)
        if name in seen:
            yield where, f"{shown(name)} is listed twice"
        elif name == entry.get("repository"):
            yield where, f"{shown(name)} is the backup's own repository: a copy lies in another one"
        elif name not in repositories:
            yield where, f"there is no repository {shown(name)}{meant(name, repositories)}"
        seen.add(name)


def _people_mistakes(data: Any) -> Iterator[Mistake]:
    people = mapping(data, "people")
    for name, entry in entries(data, "people"):
        other = entry.get("deputy_of")
        if not isinstance(other, str):
            continue
        if other == name:
            yield ("people", name, "deputy_of"), "nobody is their own deputy"
        elif other not in people:
            yield ("people", name, "deputy_of"), f"there is no person {shown(other)}{meant(other, people)}"


def doubts(config: Config) -> Iterator[str]:
    """What is allowed and looks wrong, one sentence each."""
    used = {source for backup in config.backups.values() for source in backup.sources}
    for name in config.sources:
        if name not in used:
            yield f"source {name} is in no backup"
    for name, repository in config.repositories.items():
        if not repository.local:
            parts = urlsplit(repository.url.removeprefix("rest:").removeprefix("s3:"))
            if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
                what = "what it answers can be forged" if repository.url.startswith("s3:") else "its user's password can be read"
                yield f"repository {name} is reached without TLS: {what} on the way"
    for name, backup in config.backups.items():
        repository = config.repositories[backup.repository]
        for source in (config.sources[word] for word in backup.sources):
            if not repository.local or source.kind != "paths":
                continue
            for path in source.paths:
                if Path(repository.url).is_relative_to(path):
                    yield (
                        f"backup {name} stores into {shown(repository.url, 200)}, which is inside its own "
                        f"source {source.name} ({shown(path, 200)}): each set would hold the sets before it"
                    )
    yield from host_doubts(config)
    if not config.backups:
        yield "there is no backup in the configuration"
