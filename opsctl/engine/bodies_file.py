"""``bodies.yaml``: municipal bodies written into the configuration by a command, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsctl.engine.configuration import config_files, read_documents
from opsctl.engine.load import load_document, validate
from opsctl.errors import SafetyRefusal
from opsctl.model.config import Config
from opsctl.model.config_bodies import Body
from opsctl.repositories.whole import write_whole

FILE = "bodies.yaml"
_HEAD = "# Written by `opsctl paper bodies FILE.csv`; yours to edit as well, one body a line.\nbodies:\n"


def add_bodies(directory: Path, bodies: Mapping[str, Body], *, euid: int | None = None) -> Path:
    """Write bodies that the configuration does not have at the end of ``bodies.yaml``; the file.

    Raises SafetyRefusal where its layout is not one that lines can be added to, ConfigError where the whole configuration would not
    load with them, ProgramFailed. Nothing was changed then.
    """
    path = directory / FILE
    before = path.read_text("utf-8") if path.exists() else ""
    after = (before if before.strip() else before + _HEAD).rstrip("\n") + "\n" + "".join(f"  {_line(name, one)}\n" for name, one in bodies.items())
    fresh = load_document(after, str(path))
    old: dict[str, Any] = (load_document(before, str(path)).data if before.strip() else None) or {}
    wanted = {**old, "bodies": {**(old.get("bodies") or {}), **{name: _keys(one) for name, one in bodies.items()}}}
    if fresh.problems or fresh.data != wanted:
        raise SafetyRefusal(f"{path} is laid out so that no line can be added to it safely", where=str(path), hint="let `bodies:` be its last section, a body a line")
    documents = [one for one in read_documents(config_files(directory), os.geteuid() if euid is None else euid) if one.name != str(path)]
    validate(Config, [*documents, fresh], context={"directory": str(directory)})
    write_whole(path, after.encode())
    return path


def _keys(body: Body) -> dict[str, Any]:
    return {key: list(said) if isinstance(said, tuple) else said for key, said in body.model_dump().items() if said}


def _line(name: str, body: Body) -> str:
    return f"{name}: {{{', '.join(f'{key}: {json.dumps(said, ensure_ascii=False)}' for key, said in _keys(body).items())}}}"
