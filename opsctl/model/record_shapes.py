"""What a record out of a repository must look like before anything in it is used: anybody may have written it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from posixpath import normpath
from typing import Any

from opsctl.model.records import DRILL, MANIFEST, VERIFICATION
from opsctl.model.snapshots import parse_time

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_OBJECT = re.compile(r"[0-9a-f]{64}")

Check = Callable[[Any], bool]


def mistake(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of a manifest, verification or drill; None where it can be used.

    Names become names of files and databases, paths are looked up below a folder: neither may lead out of it.
    """
    fields = {MANIFEST: _MANIFEST, VERIFICATION: _VERIFICATION, DRILL: _DRILL}.get(record.get("format", ""))
    return "of no format of ours" if fields is None else _first(record, fields)


def _first(value: Mapping[str, Any], fields: Mapping[str, Check], where: str = "") -> str | None:
    for name, right in fields.items():
        if not right(value.get(name)):
            return f"{where}{name} is missing or is no {name} of ours"
    for name, entry in value["sources"].items() if fields is _MANIFEST else ():
        if not _matches(_NAME)(name) or not isinstance(entry, Mapping):
            return f"{name!r} is no source of ours"
        if found := _first(entry, _SOURCE, f"{name}: "):
            return found
    return None


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _moment(value: Any) -> bool:
    try:
        parse_time(value)
    except (ValueError, AttributeError):
        return False
    return True


def _path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and normpath(value) == value and "\0" not in value


def _listed(right: Check) -> Check:
    return lambda value: isinstance(value, list) and all(right(one) for one in value)


def _previous(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and _matches(_SET)(value.get("set")) and _matches(_OBJECT)(
        value.get("manifest")))


def _proof(value: Any) -> bool:
    if not isinstance(value, Mapping) or not _text(value.get("kind")) or not _text(value.get("algorithm")):
        return False
    return value["kind"] != "rows" or (_text(value.get("level")) and isinstance(value.get("tables", {}), Mapping))


def _finding(value: Any) -> bool:
    return isinstance(value, Mapping) and _text(value.get("kind"))


_SOURCE: Mapping[str, Check] = {
    "kind": _matches(_NAME), "snapshot": _matches(_OBJECT), "tree": _matches(_OBJECT), "files": _count, "bytes": _count,
    "data_added_packed": _count, "seconds": _number, "paths": _listed(_path), "proof": _proof, "accepted": _listed(_text),
}
_MANIFEST: Mapping[str, Check] = {
    "backup": _matches(_NAME), "set": _matches(_SET), "time": _moment, "repository": _text,
    "sources": lambda value: isinstance(value, Mapping), "previous": _previous,
}
_VERIFICATION: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "level": _text, "shares": _listed(_count), "total": _count,
    "damaged": lambda value: isinstance(value, bool), "findings": _listed(_finding),
}
_DRILL: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "backup": _matches(_NAME), "set": _matches(_SET),
    "set_time": _moment, "seconds": _number, "ok": lambda value: isinstance(value, bool),
    "sources": lambda value: isinstance(value, Mapping),
}
