"""Finds, without pydantic, that data is just as its model wants it; for all that is not, pydantic is asked.

Nothing is converted here but a list to a tuple, and nothing is explained: a doubt is ``Unfit``, and then the other way
decides. A test holds the two to the same values over thousands of broken files.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from opsctl.model.part import AfterValidator, BeforeValidator, FieldInfo, Kinds, Part, Shown, Strict, fields
from opsctl.model.values import value

Made = TypeVar("Made", bound=Part)


class Unfit(Exception):
    """It is not certain that the data fits."""


@value
class Told:
    """What validators may ask for."""

    context: Any


Check = Callable[[Any, Told], Any]
_EXACT = (str, int, bool, timedelta, datetime)


def fitted(model: type[Made], data: Any, context: Mapping[str, Any] | None = None) -> Made:
    """The model made from plain data. Raises Unfit where anything about it is not just as it should be."""
    part: Made = _part(model)(data, Told(dict(context or {})))
    return part


def two_arguments(function: Callable[..., Any]) -> bool:
    """Whether a validator wants what the reader of the file knows, too."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_argcount == 2


_KNOWN: dict[type[Part], Check] = {}


def _part(model: type[Part]) -> Check:
    found = _KNOWN.get(model)
    if found is None:
        found = _KNOWN[model] = _made(model)
    return found


def _later(model: type[Part]) -> Check:
    """Most files use few of the models."""
    return lambda value, told: _part(model)(value, told)


def _made(model: type[Part]) -> Check:
    checks: dict[str, tuple[str, Check]] = {}
    needed = set()
    for name, field in fields(model).items():
        key = field.alias or name
        checks[key] = (name, _noted(_check(field.annotation, model.strict), field.annotation, field.metadata, model.strict))
        if field.is_required():
            needed.add(key)
    open_ = model.extra == "allow"

    def check(value: Any, told: Told) -> Any:
        if type(value) is not dict:
            if type(value) is model:
                return value
            raise Unfit
        if not needed <= value.keys():
            raise Unfit
        made = {}
        for key, inner in value.items():
            found = checks.get(key)
            if found is not None:
                made[found[0]] = found[1](inner, told)
            elif open_ and type(key) is str:
                made[key] = inner
            else:
                raise Unfit
        return model(**made)

    return check


def _check(annotation: Any, strict: bool) -> Check:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _noted(_check(arguments[0], strict), arguments[0], arguments[1:], strict)
    if annotation is Any:
        return lambda value, told: value
    if annotation is None or annotation is type(None):
        return _nothing
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _later(annotation)
    if annotation in _EXACT:
        return _exact(annotation)
    if origin in (Union, types.UnionType):
        return _either([_check(one, strict) for one in arguments])
    if origin is Literal:
        return _literal({(type(one), one) for one in arguments})
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return _tuple(_check(arguments[0], strict), (tuple,) if strict else (tuple, list))
    if origin in (dict, Mapping):
        return _dict(_check(arguments[0], strict), _check(arguments[1], strict))
    return _doubted


def _noted(check: Check, annotation: Any, notes: tuple[Any, ...], strict: bool) -> Check:
    for note in notes:
        if isinstance(note, AfterValidator):
            check = _after(check, note.function)
        elif isinstance(note, BeforeValidator):
            check = _before(check, note.function)
        elif isinstance(note, Strict):
            check = _check(annotation, note.strict)  # it stands first in a row of notes
        elif isinstance(note, FieldInfo):
            check = _limited(check, note)
        elif isinstance(note, Kinds):
            check = _kinds({word: _later(model) for word, model in note.choices.items()})
        elif not isinstance(note, Shown):
            return _doubted
    return check


def _nothing(value: Any, told: Told) -> Any:
    if value is not None:
        raise Unfit
    return None


def _doubted(value: Any, told: Told) -> Any:
    raise Unfit


def _exact(wanted: type) -> Check:
    def check(value: Any, told: Told) -> Any:
        if type(value) is not wanted:
            raise Unfit
        return value

    return check


def _either(checks: list[Check]) -> Check:
    def check(value: Any, told: Told) -> Any:
        for one in checks:
            try:
                return one(value, told)
            except Unfit:
                continue
        raise Unfit

    return check


def _literal(allowed: set[tuple[type, Any]]) -> Check:
    def check(value: Any, told: Told) -> Any:
        if not isinstance(value, str | int | None) or (type(value), value) not in allowed:
            raise Unfit
        return value

    return check


def _tuple(inner: Check, wanted: tuple[type, ...]) -> Check:
    def check(value: Any, told: Told) -> Any:
        if type(value) not in wanted:
            raise Unfit
        return tuple([inner(one, told) for one in value])

    return check


def _dict(key: Check, inner: Check) -> Check:
    def check(value: Any, told: Told) -> Any:
        if type(value) is not dict:
            raise Unfit
        return {key(name, told): inner(one, told) for name, one in value.items()}

    return check


def _kinds(choices: Mapping[str, Check]) -> Check:
    def check(value: Any, told: Told) -> Any:
        kind = value.get("kind") if type(value) is dict else getattr(value, "kind", None)
        found = choices.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise Unfit
        return found(value, told)

    return check


def _called(function: Callable[..., Any]) -> Check:
    if two_arguments(function):
        plain: Check = function
    else:
        def plain(value: Any, told: Told) -> Any:
            return function(value)

    def check(value: Any, told: Told) -> Any:
        try:
            return plain(value, told)
        except ValueError as error:
            raise Unfit from error

    return check


def _after(inner: Check, function: Callable[..., Any]) -> Check:
    then = _called(function)
    return lambda value, told: then(inner(value, told), told)


def _before(inner: Check, function: Callable[..., Any]) -> Check:
    first = _called(function)
    return lambda value, told: inner(first(value, told), told)


def _limited(inner: Check, limits: FieldInfo) -> Check:
    def check(value: Any, told: Told) -> Any:
        value = inner(value, told)
        if (limits.ge is not None and value < limits.ge) or (limits.le is not None and value > limits.le) \
                or (limits.min_length is not None and len(value) < limits.min_length):
            raise Unfit
        return value

    return check
