"""``hosts.yaml``: hosts written into the configuration by a command, whole or not at all, comments kept."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsctl.engine.configuration import config_files, read_documents
from opsctl.engine.load import load_document, resolve, validate
from opsctl.errors import Busy, ProgramFailed, SafetyRefusal
from opsctl.model.config import Config
from opsctl.model.hosts import Host
from opsctl.model.part import fields

FILE = "hosts.yaml"
_HEAD = "# Written by `opsctl hosts add` and `opsctl hosts import`; yours to edit as well.\nhosts:\n"
_KEYS = ("address", "addresses", "port", "user", "become", "zone", "os", "isolation", "gateway", "tool", "instance", "region", "by_hand",
         "ports", "console", "host_key")


def entry(host: Host) -> dict[str, Any]:
    """The keys of a host that are not as they would be anyway."""
    found = {key: getattr(host, key) for key in _KEYS if key == "address" or getattr(host, key) != fields(Host)[key].default}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def line(name: str, keys: Mapping[str, Any]) -> str:
    """One host as it stands in the file, without indentation."""
    return f"{name}: {{{', '.join(f'{key}: {_scalar(value)}' for key, value in keys.items())}}}"


def add_hosts(directory: Path, hosts: Mapping[str, Host], *, euid: int | None = None) -> Path:
    """Write hosts that the configuration does not have into ``hosts.yaml``; the file.

    Raises SafetyRefusal where its layout is not one that lines can be added to, ConfigError where the whole
    configuration would not load with them, Busy, ProgramFailed. Nothing was changed then.
    """
    path = directory / FILE
    entries = {name: entry(host) for name, host in hosts.items()}
    user = os.geteuid() if euid is None else euid
    with _locked(directory):
        before = path.read_text("utf-8") if path.exists() else ""
        after = _added(before, [line(name, keys) for name, keys in entries.items()])
        _check(directory, path, before, after, entries, user)
        try:
            _put(path, after)
        except OSError as error:
            raise ProgramFailed(f"cannot write {path}: {error.strerror}", where=str(path)) from error
    return path


def change_key(directory: Path, name: str, old: str, new: str, *, euid: int | None = None) -> Path:
    """Replace the pinned key of a host (``TYPE BASE64``) where it stands, comments kept; the file.

    Raises SafetyRefusal where it cannot be found or changed safely, ConfigError where the whole configuration would not
    load, Busy, ProgramFailed. Nothing was changed then.
    """
    user = os.geteuid() if euid is None else euid
    with _locked(directory):
        documents = read_documents(config_files(directory), user)
        for document in documents:
            hosts = document.data.get("hosts") if isinstance(document.data, dict) else None
            found = hosts.get(name) if isinstance(hosts, dict) else None
            if isinstance(found, dict) and isinstance(found.get("host_key"), str):
                break
        else:
            raise SafetyRefusal(f"no file of {directory} pins a key for {name}", where=name)
        path = Path(document.name)
        before = path.read_text("utf-8")
        after = _rekeyed(before, path, name, old, new)
        if after is None:
            raise SafetyRefusal(f"{path} is laid out so that the key of {name} cannot be changed in it safely", where=str(path),
                                hint=f"put this under {name} by hand: host_key: {new}")
        others = [one for one in documents if one.name != document.name]
        validate(Config, [*others, load_document(after, str(path))], context={"directory": str(directory)})
        try:
            _put(path, after)
        except OSError as error:
            raise ProgramFailed(f"cannot write {path}: {error.strerror}", where=str(path)) from error
    return path


def _rekeyed(text: str, path: Path, name: str, old: str, new: str) -> str | None:
    """The text with one key replaced, so that it says the same but for the key of this host; None where that cannot be."""
    wanted = load_document(text, str(path)).data
    kept = wanted["hosts"][name]["host_key"]
    if kept.split()[:2] != old.split():
        return None
    wanted["hosts"][name]["host_key"] = " ".join([new, *kept.split()[2:]])
    kind, blob = old.split()
    for found in re.finditer(rf"{re.escape(kind)}[ \t]+{re.escape(blob)}(?![A-Za-z0-9+/=])", text):
        after = text[:found.start()] + new + text[found.end():]
        fresh = load_document(after, str(path))
        if not fresh.problems and fresh.data == wanted:
            return after
    return None


def _added(text: str, lines: list[str]) -> str:
    """The text with lines at the end of its block of hosts; the text unchanged where it has none such."""
    if not text.strip():
        return text + _HEAD + "".join(f"  {one}\n" for one in lines)
    rows = text.splitlines(keepends=True)
    if not rows[-1].endswith("\n"):
        rows[-1] += "\n"
    start = next((number for number, row in enumerate(rows) if re.fullmatch(r"hosts:[ \t]*(#.*)?\n", row)), None)
    if start is None:
        return "".join([*rows, "hosts:\n", *(f"  {one}\n" for one in lines)])
    indent, end = "  ", start + 1
    for number in range(start + 1, len(rows)):
        found = re.match(r"( +)[^ #\n]", rows[number])
        if found:
            indent = found[1] if end == start + 1 else indent
            end = number + 1
        elif re.match(r"[^ #\n]", rows[number]):
            break
    return "".join([*rows[:end], *(f"{indent}{one}\n" for one in lines), *rows[end:]])


def _check(
    directory: Path, path: Path, before: str, after: str, entries: Mapping[str, Mapping[str, Any]], euid: int
) -> None:
    """The new text says what the old one said, and the hosts, and the whole is a configuration."""
    fresh = load_document(after, str(path))
    old = (load_document(before, str(path)).data if before.strip() else None) or {}
    wanted = {**old, "hosts": {**(old.get("hosts") or {}), **{name: dict(keys) for name, keys in entries.items()}}}
    if fresh.problems or fresh.data != wanted:
        raise SafetyRefusal(f"{path} is laid out so that no line can be added to it safely", where=str(path),
                            hint="put this under hosts: by hand: " + "; ".join(line(*one) for one in entries.items()))
    documents = [one for one in read_documents(config_files(directory), euid) if one.name != str(path)]
    validate(Config, [*documents, fresh], context={"directory": str(directory)})


def _put(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=".hosts-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"someone else is writing to {directory}") from error
        yield
    finally:
        os.close(lock)


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./@+=-]*( [A-Za-z0-9_./@+=-]+)*", value)
    return value if plain and resolve(value) == value else json.dumps(value, ensure_ascii=False)
