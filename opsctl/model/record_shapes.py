"""What a record out of a repository must look like before anything in it is used: anybody may have written it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from posixpath import normpath
from typing import Any

from opsctl.model.records import CHOICE, DRILL, FREEZE, INCIDENT, MANIFEST, PRUNE, ROTATION, VERIFICATION
from opsctl.model.signals import CLEAN, SUSPECT, UNKNOWN
from opsctl.model.signals import FORMAT as SIGNALS
from opsctl.model.snapshots import parse_time

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_OBJECT = re.compile(r"[0-9a-f]{64}")
_INCIDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_ABSENT = object()
#: Ours are eight deep; what is deeper ends somewhere in a function that calls itself.
_DEEPEST = 20
#: Moments between these can be shown in every time zone.
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Check = Callable[[Any], bool]


def mistake(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of a record; None where it can be used.

    Names become names of files and databases, paths are looked up below a folder: neither may lead out of it.
    """
    known = {MANIFEST: _MANIFEST, VERIFICATION: _VERIFICATION, DRILL: _DRILL, FREEZE: _FREEZE, PRUNE: _PRUNE, CHOICE: _CHOICE,
             ROTATION: _ROTATION, INCIDENT: _OF_INCIDENT}
    fields = next((fields for format_, fields in known.items() if format_ == record.get("format")), None)
    if fields is None:
        return "of no format of ours"
    return "it is nested too deep" if _is_deep(record) else _first(record, fields)


def _is_deep(record: Mapping[str, Any]) -> bool:
    level: list[Any] = [record]
    for _ in range(_DEEPEST):
        level = [inner for value in level for inner in (value.values() if isinstance(value, Mapping) else value)
                 if isinstance(inner, Mapping | list)]
        if not level:
            return False
    return True


def _first(value: Mapping[str, Any], fields: Mapping[str, Check], where: str = "") -> str | None:
    for name, right in fields.items():
        if not right(value.get(name, _ABSENT)):
            return f"{where}{name} is missing or is no {name} of ours"
    for name, entry in value["sources"].items() if fields is _MANIFEST else ():
        if not _matches(_NAME)(name) or not isinstance(entry, Mapping):
            return f"{name!r} is no source of ours"
        if found := _first(entry, _SOURCE, f"{name}: ") or _proof_mistake(name, entry):
            return found
    return None


def _proof_mistake(name: str, entry: Mapping[str, Any]) -> str | None:
    """A proof is held against what its kind of source compares; of kinds that we do not know we compare nothing."""
    proof = entry["proof"]
    wanted = _PROOF_OF.get(entry["kind"])
    if wanted is not None and proof["kind"] != wanted:
        return f"{name}: its proof is of no kind that belongs to {entry['kind']}"
    fields = {**_PROOFS.get(proof["kind"], {}), **_FACTS.get(entry["kind"], {})}
    return _first(proof, fields, f"{name}: proof: ")


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
        return _FIRST <= parse_time(value) < _LAST
    except (ValueError, AttributeError, TypeError, OverflowError):
        return False


def _path(value: Any) -> bool:
    return _plain(value) and value.startswith("/") and normpath(value) == value


def _relative(value: Any) -> bool:
    """A path below a folder, that does not lead out of it."""
    return _plain(value) and not value.startswith("/") and normpath(value) == value and value.split("/")[0] != ".."


def _plain(value: Any) -> bool:
    """Text that a program or a server can be given."""
    return isinstance(value, str) and "\0" not in value


def _optional(right: Check) -> Check:
    """Absent, or right; null is neither."""
    return lambda value: value is _ABSENT or right(value)


def _mapped(right: Check) -> Check:
    return lambda value: isinstance(value, Mapping) and all(right(one) for one in value.values())


def _rows(value: Any) -> bool:
    return isinstance(value, Mapping) and _count(value.get("rows"))


def _sequence(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_matches(_INTEGER)(value[key]) for key in ("last", "step") if key in value)


def _ranges(value: Any) -> bool:
    """Key ranges of a table, one more than there are bounds."""
    if not (isinstance(value, Mapping) and all(_plain(value.get(name)) for name in ("key", "type")) and _listed(_plain)(value.get("bounds"))):
        return False
    return all(_listed(_count)(value.get(name)) and len(value[name]) == len(value["bounds"]) + 1 for name in ("rows", "sums"))


def _file(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _count(value[0]) and _text(value[1])


def _anchor(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and _count(value.get("seq")) and _text(value.get("hash")))


def _listed(right: Check) -> Check:
    return lambda value: isinstance(value, list) and all(right(one) for one in value)


def _previous(value: Any) -> bool:
    return value in (None, _ABSENT) or (isinstance(value, Mapping) and _matches(_SET)(value.get("set")) and _matches(_OBJECT)(
        value.get("manifest")))


def _proof(value: Any) -> bool:
    return isinstance(value, Mapping) and _text(value.get("kind")) and _text(value.get("algorithm"))


def _finding(value: Any) -> bool:
    if not isinstance(value, Mapping) or not _text(value.get("kind")):
        return False
    more = {"object": lambda one: one is None or _text(one), "sets": _listed(_text), "of": _listed(_text),
            "reaches_all": lambda one: isinstance(one, bool)}
    return all(right(value[name]) for name, right in more.items() if name in value)


def _signals(value: Any) -> bool:
    """Ours of this format; those of a later one may look as they like."""
    if not isinstance(value, Mapping) or value.get("format") != SIGNALS:
        return isinstance(value, Mapping) and _text(value.get("format"))
    entry = {"verdict": lambda one: one in (CLEAN, SUSPECT, UNKNOWN), "reasons": _listed(_text), "notes": _listed(_text),
             "examples": _listed(_example), "numbers": _numbers}
    return entry["verdict"](value.get("verdict")) and _mapped(
        lambda one: isinstance(one, Mapping) and all(right(one.get(name)) for name, right in entry.items()))(value.get("sources"))


def _numbers(value: Any) -> bool:
    """What is used of them; a kind of source may have others."""
    counts = dict.fromkeys(("files", "files_before", "changed", "added", "removed", "data_added", "data_added_packed"), _optional(_count))
    maps = dict.fromkeys(("renamed", "strange_suffixes", "renamed_to", "sample"), _optional(_mapped(_count)))
    fields = {**counts, **maps, "canaries": _optional(_mapped(_text))}
    return isinstance(value, Mapping) and all(right(value.get(name, _ABSENT)) for name, right in fields.items())


def _example(value: Any) -> bool:
    return isinstance(value, Mapping) and _text(value.get("path")) and _text(value.get("why"))


def _shaped(fields: Mapping[str, Check]) -> Check:
    return lambda value: isinstance(value, Mapping) and all(right(value.get(name, _ABSENT)) for name, right in fields.items())


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


#: What people have signed, and the plan that they signed; whether it holds is for ``model.consent`` to say.
_CONSENT = _shaped({"plan": _mapping, "request": _mapping,
                    "approvals": _listed(_shaped({"statement": _mapping, "signature": _text}))})
_SOURCE: Mapping[str, Check] = {
    "kind": _matches(_NAME), "snapshot": _matches(_OBJECT), "tree": _matches(_OBJECT), "files": _count, "bytes": _count,
    "data_added_packed": _count, "seconds": _number, "paths": lambda value: _listed(_path)(value) and bool(value),
    "proof": _proof, "accepted": _listed(_text), "taken": _optional(_moment), "origin": _optional(_path),
}
#: Which proof a kind of source has, what is used of each kind of proof, and what more a kind of source takes out of it.
_PROOF_OF = {"paths": "files", "postgresql": "rows", "mariadb": "rows", "sqlite": "rows", "command": "content"}
_PROOFS: Mapping[str, Mapping[str, Check]] = {
    "files": {"files": _count, "bytes": _count},
    "rows": {
        "level": lambda value: value in ("full", "counts", "off"), "tables": _optional(_mapped(_rows)),
        "large_objects": _optional(lambda value: isinstance(value, Mapping)), "sequences": _optional(_mapped(_sequence)),
        "ranges": _optional(_mapped(_ranges)),
        "objects": _optional(_mapped(_text)),
    },
    "content": {"files": _count, "bytes": _count, "sha256": _matches(_OBJECT), "listed": _optional(_mapped(_file))},
}
_FACTS: Mapping[str, Mapping[str, Check]] = {
    "postgresql": {"server_version": _count, "encoding": _plain, "collate": _plain, "ctype": _plain,
                   **{name: _optional(_plain) for name in ("locale_provider", "locale", "icu_rules")}},
    "mariadb": {"server": lambda value: value in ("mariadb", "mysql"), "server_version": _count, "encoding": _plain,
                "collate": _plain, "database": _plain},
    "sqlite": {"sha256": _matches(_OBJECT)},
}
_MANIFEST: Mapping[str, Check] = {
    "backup": _matches(_NAME), "set": _matches(_SET), "time": _moment, "repository": _text,
    "sources": lambda value: isinstance(value, Mapping), "previous": _previous, "journal": _optional(_anchor),
    "every_seconds": _optional(_count), "signals": _optional(_signals),
    "carried": _optional(lambda value: isinstance(value, Mapping) and _mapped(_matches(_OBJECT))(value.get("files"))
                         and all(_relative(name) for name in value["files"])),
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
_FREEZE: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "host": _text, "by": _text, "incident": _matches(_INCIDENT),
    "state": lambda value: value in ("frozen", "thawed"), "lifts": _optional(_listed(_matches(_OBJECT))),
    "consent": _optional(_CONSENT),
}
_FORGOTTEN = _shaped({
    "set": _matches(_SET), "manifest": lambda value: value is None or _matches(_OBJECT)(value),
    "snapshots": _mapped(_matches(_OBJECT)),
})
_PRUNE: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "host": _text, "by": _text, "backup": _matches(_NAME),
    "forgotten": _listed(_FORGOTTEN), "accepted": _listed(_text), "bytes": _count, "consent": _CONSENT,
}
_STATEMENT = _shaped({"old": _text, "new": _text, "time": _moment, "format": _text})
_ROTATION: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "statement": _STATEMENT, "by_new": _text, "by_old": _optional(_text),
    "consent": _optional(_CONSENT),
}
_ENTRY = _shaped({"seq": _count, "hash": _matches(_OBJECT), "time": _moment, "type": _text, "run": lambda value: value is None or _text(value),
                  "data": _mapping})
_OF_INCIDENT: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "host": _text, "by": _text, "incident": _matches(_INCIDENT),
    "previous": lambda value: value == "" or _matches(_OBJECT)(value), "entries": _listed(_ENTRY),
    "files": _optional(lambda value: _mapped(_matches(_OBJECT))(value) and all(_relative(name) for name in value)),
    "left_out": _optional(_mapped(_text)),
}
_CHOICE: Mapping[str, Check] = {
    "repository": _text, "run": _text, "time": _moment, "host": _text, "by": _text, "backup": _matches(_NAME),
    "set": _matches(_SET), "before": _optional(_moment), "why": _text, "consent": _CONSENT,
}
