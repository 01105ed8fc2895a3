"""Frozen dataclasses whose methods are shared instead of compiled anew for each class.

``dataclass(frozen=True)`` compiles six functions for every class at every start; that was a quarter of a backup's own
work. For values that are made by the million (entries of a listing) the compiled ones are quicker.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[Made]) -> type[Made]:
    """A class decorator: as ``dataclass(frozen=True)``, understood by ``fields``, ``replace`` and ``asdict``."""
    made = dataclass(init=False, repr=False, eq=False)(cls)
    for name, method in _METHODS.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    known = fields(made)  # type: ignore[arg-type]
    made._names = tuple(one.name for one in known)  # type: ignore[attr-defined]
    made._named = frozenset(made._names)  # type: ignore[attr-defined]
    made._defaults = {one.name: one.default for one in known if one.default is not MISSING}  # type: ignore[attr-defined]
    made._factories = {  # type: ignore[attr-defined]
        one.name: one.default_factory for one in known if one.default_factory is not MISSING
    }
    made._compared = tuple(one.name for one in known if one.compare)  # type: ignore[attr-defined]
    made._shown = tuple(one.name for one in known if one.repr)  # type: ignore[attr-defined]
    return made


def _init(self: Any, *given: Any, **named: Any) -> None:
    names = self._names
    mine = self.__dict__
    if len(given) > len(names):
        raise TypeError(f"{type(self).__name__} takes {len(names)} values and got {len(given)}")
    mine.update(self._defaults)
    mine.update(zip(names, given))  # noqa: B905  (fewer may be given by position)
    if named:
        if not self._named.issuperset(named):
            raise TypeError(f"{type(self).__name__} has no {next(name for name in named if name not in names)}")
        if given and not named.keys().isdisjoint(names[: len(given)]):
            raise TypeError(f"{type(self).__name__} got {next(name for name in names if name in named)} twice")
        mine.update(named)
    if len(mine) < len(names):
        for name in names:
            if name not in mine:
                if name not in self._factories:
                    raise TypeError(f"{type(self).__name__} needs {name}")
                mine[name] = self._factories[name]()


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in self._shown)})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    mine, its = self.__dict__, other.__dict__
    return all(mine[name] == its[name] for name in self._compared)


def _hash(self: Any) -> int:
    return hash(tuple(self.__dict__[name] for name in self._compared))


def _setattr(self: Any, name: str, inner: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: dict[str, Any] = {
    "__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash, "__setattr__": _setattr,
    "__delattr__": _delattr,
}
