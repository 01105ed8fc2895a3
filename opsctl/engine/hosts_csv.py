"""Many hosts from a CSV file, every mistake of it at once, by line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl.engine.wording import in_words
from opsctl.errors import ConfigError
from opsctl.model.config import Config
from opsctl.model.config_isolation import isolation_mistakes
from opsctl.model.fields import meant, shown
from opsctl.model.hosts import Host, host_mistakes
from opsctl.model.part import NotValid

COLUMNS = ("name", "address", "addresses", "port", "user", "become", "zone", "os", "isolation", "gateway", "tool", "instance",
           "region", "by_hand", "ports", "console", "host_key", "fingerprint")
_LISTS = ("addresses", "ports")
_LARGEST = 4 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class Row:
    """One host of the file; ``fingerprint`` where its key is still to be fetched and compared."""

    line: int
    name: str
    host: Host
    fingerprint: str | None


def read_hosts(path: Path, config: Config) -> list[Row]:
    """The hosts of a file with a line of column names, which refer to zones, tools and gateways of the configuration, or to each
    other. Raises ConfigError with every mistake.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", where=str(path),
                          hint="save it as `CSV UTF-8` in the spreadsheet program") from error
    if len(text) > _LARGEST:
        raise ConfigError(f"{path} is larger than 4 MiB", where=str(path))
    return parse_hosts(text, str(path), config)


def parse_hosts(text: str, file: str, config: Config) -> list[Row]:
    """The same from text."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    problems: list[tuple[int, str]] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        head = [cell.strip() for cell in next(reader, [])]
        problems += [(1, one) for one in _head_mistakes(head)]
        for cells in reader if not problems else ():
            filled = [cell.strip() for cell in cells]
            if any(filled):
                if len(filled) != len(head):
                    problems.append((reader.line_num, f"has {len(filled)} fields, the first line {len(head)}"))
                else:
                    rows.append((reader.line_num, {key: cell for key, cell in zip(head, filled, strict=True) if cell}))
    except csv.Error as error:
        problems.append((reader.line_num, f"is no CSV: {error}"))
    found = list(_rows(rows, config, problems)) if not problems or rows else []
    if not problems and not rows:
        problems.append((1, "holds no host"))
    if problems:
        told = [f"{file}:{line}: {message}" for line, message in sorted(problems, key=lambda one: one[0])]
        count = "a mistake" if len(told) == 1 else f"{len(told)} mistakes"
        raise ConfigError(f"{count} in the list of hosts", problems=told, where=file)
    return found


def _head_mistakes(head: list[str]) -> Iterator[str]:
    for name in head:
        if name not in COLUMNS:
            yield f"there is no column {shown(name)}{meant(name, COLUMNS)}; there are {', '.join(COLUMNS)}"
    for name in sorted({name for name in head if head.count(name) > 1}):
        yield f"column {shown(name)} stands there twice"
    for name in ("name", "address"):
        if name not in head:
            yield f"column {name} is missing"


def _rows(
    rows: list[tuple[int, dict[str, str]]], config: Config, problems: list[tuple[int, str]]
) -> Iterator[Row]:
    lines: dict[str, int] = {}
    plain: dict[str, dict[str, Any]] = {}
    for line, cells in rows:
        name = cells.pop("name", "")
        fingerprint = cells.pop("fingerprint", None)
        if _NAME.fullmatch(name) is None:
            problems.append((line, "name: must be small letters, digits and hyphens, at most 63 of them"))
        elif name in lines:
            problems.append((line, f"name: {name} stands in line {lines[name]} already"))
        lines.setdefault(name, line)
        if fingerprint is not None and _FINGERPRINT.fullmatch(fingerprint) is None:
            problems.append((line, "fingerprint: must be SHA256: and 43 characters"))
        if fingerprint is not None and "host_key" in cells:
            problems.append((line, "fingerprint: the host_key is given, so this is one too many"))
        if fingerprint is None and "host_key" not in cells and cells.get("os", "linux") == "linux":
            problems.append((line, "host_key or fingerprint is needed: a key is never taken on first sight"))
        data = {key: _typed(key, cell) for key, cell in cells.items()}
        plain[name] = data
        try:
            yield Row(line, name, Host.model_validate(data), fingerprint)
        except NotValid as error:
            problems += [(line, f"{'.'.join(map(str, place))}: {message}")
                         for place, message, _ in in_words(error, Host, data)]
    known = {name: {"os": host.os} for name, host in config.hosts.items()}
    whole = {"hosts": {**known, **plain}, "zones": dict(config.zones), "isolation": {"tools": {key: {} for key in config.isolation.tools}}}
    for place, message in (*host_mistakes(whole), *isolation_mistakes(whole)):
        if place[0] == "hosts" and place[1] in lines:
            problems.append((lines[str(place[1])], f"{place[2]}: {message}"))


def _typed(key: str, cell: str) -> Any:
    if key in _LISTS:
        return [int(one) if key == "ports" and one.isdecimal() else one for one in re.split(r"[;\s]+", cell) if one]
    if key == "port" and cell.isdecimal() and len(cell) < 9:
        return int(cell)
    if key == "console" and cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    return cell
