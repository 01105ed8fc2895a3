"""The first configuration as text, made of what ``init`` was told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.engine.load import load_document, resolve, validate
from opsctl.errors import ConfigError, UsageError

NONE = "none"
"""The answer that says that there is no such thing."""
FILE = "opsctl.yaml"
TRIAL = {
    "organisation": "a",
    "timezone": "UTC",
    "state": "/a",
    "repository": "/a",
    "password_file": "/a",
    "database": "a",
    "folder": NONE,
}


def text_of(said: Mapping[str, Any]) -> str:
    """The ten lines."""

    def entry(**keys: Any) -> str:
        given = {key: value for key, value in keys.items() if value not in (None, NONE)}
        return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in given.items()) + "}"

    sources = {}
    if said["database"] != NONE:
        sources["portal-db"] = entry(
            kind=said.get("database_kind", "postgresql"),
            database=said["database"],
            server=said.get("server"),
            port=int(said["port"]) if said.get("port", NONE).isdecimal() else said.get("port"),
            user=said.get("user"),
            password_file=said.get("database_password_file"),
        )
    if said["folder"] != NONE:
        sources["uploads"] = f"{{kind: paths, paths: [{_scalar(said['folder'])}]}}"
    main = entry(
        url=said["repository"],
        user=said.get("repository_user"),
        secret_file=said.get("repository_secret_file"),
        access_key_file=said.get("access_key_file"),
        secret_key_file=said.get("secret_key_file"),
        host_key=said.get("host_key"),
        ssh_key_file=said.get("ssh_key_file"),
        cacert=said.get("cacert"),
        password_file=said["password_file"],
    )
    return "\n".join(
        [
            "# What is backed up, where to, how often. configs/README.md explains every key.",
            *_left(said.get("left", ())),
            f"organisation: {entry(name=said['organisation'], timezone=said['timezone'])}",
            f"state: {_scalar(said['state'])}",
            "repositories:",
            f"  main: {main}",
            "sources:",
            *(f"  {name}: {source}" for name, source in sources.items()),
            "backups:",
            f"  portal: {{sources: [{', '.join(sources)}], repository: main, every: 3d}}",
            "",
        ]
    )


def _left(names: Sequence[str]) -> list[str]:
    """A remark on what was found here and is not backed up by this file."""
    named = [json.dumps(name, ensure_ascii=False)[1:-1] for name in names[:20]]
    more = f" and {len(names) - len(named)} more" if len(names) > len(named) else ""
    return [f"# Found here, and in no backup yet: {', '.join(named)}{more}."] if named else []


def _scalar(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    plain = re.fullmatch(
        r"[A-Za-z/][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@-]+)*|rest:https?://[A-Za-z0-9_./:@-]+", value
    )
    return value if plain and resolve(value) == value else json.dumps(value, ensure_ascii=False)


def load(text: str, directory: Path) -> Any:
    from opsctl.model.config import Config

    return validate(Config, [load_document(text, FILE)], context={"directory": str(directory)})


def check(text: str, directory: Path) -> None:
    try:
        load(text, directory)
    except ConfigError as error:
        raise UsageError(f"these answers do not make a configuration: {error.problems[0]}") from error
