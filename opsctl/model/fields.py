"""The field types that configuration and playbook files are made of.

Models say the shape of each key; what concerns several keys at once (a reference, *exactly one of*) is said
by ``mistakes`` over the plain data, so that a mistake of one sort never hides one of the other.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any

from opsctl.model.part import AfterValidator, BeforeValidator, Field, Shown, Strict, Told
from opsctl.model.part import Mistake as Mistake
from opsctl.model.part import Part as Part
from opsctl.model.part import Place as Place
from opsctl.model.quantities import parse_duration, parse_size

WAYS = ("file", "command", "env")
"""How a secret can be given: the keys ``password_file``, ``password_command``, ``password_env``."""

NOT_A_VALUE = (
    "a secret is never a value in this file; take it out (and change it, if others saw it) and use instead"
)


def name(value: str) -> str:
    """A name as it stands in the configuration; ValueError for anything else."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", value) is None:
        raise ValueError(
            "must be a name of small letters, digits and hyphens (a-z 0-9 -), at most 63 of them"
        )
    return value


def _line(value: str) -> str:
    if not value.strip() or len(value) > 1000 or any(mark in value for mark in "\n\r\t\0"):
        raise ValueError("must be one line of text")
    return value


def absolute(value: str, info: Told) -> str:
    """Make a path absolute: from the directory of the configuration where one is known."""
    _line(value)
    if value.startswith("~"):
        raise ValueError("~ is not expanded here; write the whole path")
    base = (info.context or {}).get("directory")
    return os.path.normpath(os.path.join(base, value) if base else value)


def _argument(value: str) -> str:
    """Text that becomes a word of a command line: never an option, never a connection string."""
    _line(value)
    if value.startswith("-") or "://" in value or "=" in value:
        raise ValueError("must be a plain name, without = or :// and not starting with a hyphen")
    return value


def _variable(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value) is None:
        raise ValueError("must be the name of an environment variable (letters, digits, _)")
    return value


def _incident(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value) is None:
        raise ValueError("must be the id of an incident: letters, digits, dots and hyphens, at most 63 of them")
    return value


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError("must be a duration such as 3d, 12h or 45m")


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a size such as 10GiB")


Name = Annotated[str, AfterValidator(name), Shown("name")]
Incident = Annotated[str, AfterValidator(_incident), Shown("id of an incident")]
Line = Annotated[str, AfterValidator(_line), Shown("text")]
Argument = Annotated[str, AfterValidator(_argument), Shown("text")]
FilePath = Annotated[str, AfterValidator(absolute), Shown("path")]
Variable = Annotated[str, AfterValidator(_variable), Shown("variable name")]
Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive), Shown("duration")]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0), Shown("size")]
Count = Annotated[int, Field(ge=0, le=10**15), Shown("number")]
Lines = Annotated[tuple[Line, ...], Strict(False)]
Names = Annotated[tuple[Name, ...], Strict(False)]
Command = Annotated[tuple[Line, ...], Strict(False), Field(min_length=1), Shown("list of words")]
SomeNames = Annotated[tuple[Name, ...], Strict(False), Field(min_length=1)]
SomePaths = Annotated[tuple[FilePath, ...], Strict(False), Field(min_length=1)]


def mapping(data: Any, key: str | int) -> dict[str, Any]:
    """``data[key]`` where both are mappings, otherwise an empty one."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def entries(data: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of the mapping ``data[key]`` that are mappings themselves."""
    for name, value in mapping(data, key).items():
        if isinstance(value, dict):
            yield name, value


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean x?`` for the nearest known word, or nothing."""
    words = list(known)
    if len(words) > 1000:  # comparing takes too long, and nobody could tell them apart
        return ""
    import difflib  # only after a mistake: it costs every start 5 ms

    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {shown(near[0])}?" if near else ""


def either(words: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = list(words)
    return f"{', '.join(most)} or {last}" if most else last


def shown(value: str, longest: int = 60) -> str:
    """Text from a file as it may stand in a message: printable, on one line, not too long."""
    text = "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape", "replace").decode() for mark in value
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"
