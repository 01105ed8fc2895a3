"""Words of a command line into values, without what typer imports for it.

typer imports pydantic for every value, even for a missing one; wrong usage and completion should not wait
for that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer


def coerce_cheaply(params: list[Any]) -> list[Any]:
    """Let parameters that need no more than their type take their values by themselves; returns them.

    The others (a format, a path that must exist, a parser) keep typer's way. May be called again
    with the same ones. Does nothing with a typer that has another way.
    """
    for param in params:
        typers_own = getattr(param, "get_runtime_param", None)
        if typers_own is not None and not isinstance(getattr(typers_own, "__self__", None), _Cheap):
            param.get_runtime_param = _Cheap(typers_own).get
    return params


class _Cheap:
    """typer's contract for the coercion of a parameter. Raises BadParameter where it cannot."""

    def __init__(self, typers_own: Callable[[], Any]) -> None:
        self._typers_own = typers_own

    def get(self) -> _Cheap:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        described = param.type_descriptor
        kind = described.annotation
        if get_origin(kind) is list:
            kind = get_args(kind)[0]
        info = described.parameter_info
        if not _is_simple(kind, info):
            return self._typers_own().coerce(value, param=param, ctx=ctx)
        try:
            return tuple(_within(_convert(kind, one), info) for one in value) if many else _within(_convert(kind, value), info)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def _is_simple(kind: Any, info: Any) -> bool:
    if info.parser is not None or not isinstance(kind, type):
        return False
    if issubclass(kind, Enum):
        return bool(info.case_sensitive)
    if kind is int:
        return not info.clamp
    if kind is Path:
        return not (info.exists or info.resolve_path or info.allow_dash) and info.file_okay and info.dir_okay
    return kind is str


def _within(value: Any, info: Any) -> Any:
    if isinstance(value, int) and ((info.min is not None and value < info.min) or (info.max is not None and value > info.max)):
        least, most = ("" if info.min is None else f"{info.min}<=", "" if info.max is None else f"<={info.max}")
        raise ValueError(f"{value} is not in the range {least}x{most}.")
    return value


def _convert(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if issubclass(kind, Enum):
        found = next((choice for choice in kind if str(choice.value) == value), None)
        if found is None:
            raise ValueError(f"{value!r} is not one of {', '.join(repr(choice.value) for choice in kind)}.")
        return found
    if kind is int:
        try:
            return int(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a whole number.") from error
    return kind(value)
