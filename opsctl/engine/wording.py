"""What pydantic says about a file, in plain words and at the place where it stands."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from opsctl.model.fields import NOT_A_VALUE, WAYS, Part, Place, either, meant
from opsctl.model.part import Kinds, NotValid, fields

_SECRET = re.compile(
    r"(^|_)(pass(word|wd|phrase)?|secret|token|credentials?|(api|private|secret|access)_?key)$"
)
_TAG = "‹"


def in_words(error: NotValid, model: type[Part], data: Any) -> Iterator[tuple[Place, str, bool]]:
    """(place, message, whether something is missing) for each mistake; never a value from the file."""
    for found in error.errors():
        loc = found["loc"]
        place, value = _place(loc, data)
        kind = found["type"]
        context = found.get("ctx") or {}
        if kind == "too_short" and value:
            continue  # pydantic counts only the entries without a mistake, and those are told of themselves
        if kind == "extra_forbidden":
            yield place, _unknown_key(str(loc[-1]), _model_at(model, loc[:-1])), False
        elif kind == "union_tag_invalid":
            given = isinstance(value, dict) and "kind" in value
            kinds = re.findall(f"{_TAG}(.+?)›", context.get("expected_tags", ""))
            word = value.get("kind") if given else None
            near = meant(word, kinds) if isinstance(word, str) else ""
            message = f"must be {either(kinds)}{near}" if given else f"is missing: {either(kinds)}"
            yield (*place, "kind"), message, not given
        else:
            yield place, _message(kind, context, value, found["msg"]), kind == "missing"


def _place(loc: tuple[int | str, ...], data: Any) -> tuple[Place, Any]:
    """Where in the data an error is, and what is there; tags of unions and *[key]* are not places."""
    place: list[int | str] = []
    for position, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict) and position == len(loc) - 1 and part != "[key]":
            data = None
        else:
            continue
        place.append(part)
    return tuple(place), data


def _message(kind: str, context: dict[str, Any], value: Any, said: str) -> str:
    match kind:
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])
        case "string_type":
            if isinstance(value, int | float):
                return "must be text; put it in quotes"
            return f"must be text{_instead(value)}"
        case "int_type" | "int_from_float":
            if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+", value):
                return "must be a whole number, without quotes, leading zeros or a plus"
            if isinstance(value, float):
                return "must be a whole number, without a point"
            return f"must be a whole number{_instead(value)}"
        case "bool_type":
            text = isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", "true", "false")
            return f"must be true or false{'; this word is text here' if text else _instead(value)}"
        case "none_required":
            return "must be null; nothing else is supported by this version of opsctl"
        case "literal_error":
            allowed = re.findall(r"'([^']+)'", context["expected"])
            near = meant(value, allowed) if isinstance(value, str) else ""
            return f"must be {either(allowed)}{near}"
        case "model_type" | "model_attributes_type" | "dict_type" | "union_tag_not_found":
            return f"must be a mapping (key: value){_instead(value)}"
        case "tuple_type" | "list_type":
            return f"must be a list ([one, two]){_instead(value)}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "too_short":
            return f"needs at least {context['min_length']} entry"
    return said[:1].lower() + said[1:]


def _instead(value: Any) -> str:
    if value is None:
        return ", and is empty"
    for types_, name in ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list, "a list")):
        if isinstance(value, types_):
            return f", not {name}"
    return ", not a mapping"


def _unknown_key(key: str, model: type[Part] | None) -> str:
    if model is None:
        return "unknown key"
    if key in model.elsewhere:
        return model.elsewhere[key]
    known = [field.alias or name for name, field in fields(model).items()]
    if _SECRET.search(key):
        ways = [f"{key}_{way}" for way in WAYS if f"{key}_{way}" in known]
        return f"{NOT_A_VALUE} {either(ways or ['a key that ends in _file, _command or _env'])}"
    near = meant(key, known)
    return f"unknown key{near}" if near else f"unknown key; known here: {', '.join(known)}"


def _model_at(model: Any, loc: tuple[int | str, ...]) -> type[Part] | None:
    """The model whose mapping stands at ``loc``."""
    current = _bare(model)
    for part in loc:
        if isinstance(part, str) and part.startswith(_TAG) and isinstance(current, Kinds):
            current = current.choices.get(part.strip("‹›"))
        elif isinstance(current, type) and issubclass(current, Part):
            known = {field.alias or name: field for name, field in fields(current).items()}
            if part not in known:
                return None
            current = _bare(known[str(part)].annotation)
        elif arguments := get_args(current):
            current = _bare(arguments[1] if get_origin(current) is dict else arguments[0])
        else:
            return None
    return current if isinstance(current, type) and issubclass(current, Part) else None


def _bare(annotation: Any) -> Any:
    """Without Annotated and without ``| None``; where there are several kinds of mapping, these."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *notes = get_args(annotation)
            kinds = [note for note in notes if isinstance(note, Kinds)]
            if kinds:
                return kinds[0]
            continue
        if get_origin(annotation) in (Union, types.UnionType):
            rest = [member for member in get_args(annotation) if member is not type(None)]
            if len(rest) == 1:
                annotation = rest[0]
                continue
        return annotation
