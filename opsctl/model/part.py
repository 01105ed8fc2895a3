"""Mappings of files as frozen values, and the words by which a model says what each key may hold.

They are written as pydantic's models are, and pydantic is who explains what is wrong with a file. It is not loaded for
that which is right (``fitting``): it takes as long to load as all of the rest of a backup's own work.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Protocol, Self, dataclass_transform, get_args, get_origin

from opsctl.model.quantities import format_duration
from opsctl.model.values import value

Place = tuple[str | int, ...]
"""Where in a file: keys and list positions, outermost first."""

Mistake = tuple[Place, str]

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()


class Told(Protocol):
    """What a validator may ask for as its second argument: what the reader of the file knows (``directory``)."""

    @property
    def context(self) -> Any: ...


class NotValid(Exception):
    """Data that does not fit its model. ``errors()`` has a mapping for each mistake: ``type loc msg ctx``."""

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"{len(found)} mistakes")
        self._found = found

    def errors(self) -> Sequence[Mapping[str, Any]]:
        return self._found


@value
class Shown:
    """What a type is called in messages and in the generated page."""

    name: str


class Note:
    """What stands behind a type in ``Annotated`` and says more of it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from opsctl.model import judging

        return judging.noted(self, handler(source))


@value
class AfterValidator(Note):
    """A function that gets the value, and ``Told`` where it takes two; gives the value back or raises ValueError."""

    function: Callable[..., Any]


@value
class BeforeValidator(Note):
    """The same, before the type is looked at."""

    function: Callable[..., Any]


@value
class Strict(Note):
    """Whether only the very type will do (a list is no tuple). Models of files are strict unless told otherwise."""

    strict: bool = True


@value
class Kinds(Note):
    """A mapping of one of several sorts: which one, says its key ``kind``. ``choices`` are the models by that word."""

    choices: Mapping[str, type[Part]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from opsctl.model import judging

        return judging.kinds(self.choices, handler)


@value
class FieldInfo(Note):
    """One key: its type without ``Annotated``, what was said there, its default and its sentence.

    ``ge``, ``le``: smallest and largest number; ``min_length``: fewest entries.
    """

    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    alias: str | None = None
    description: str = ""
    ge: int | None = None
    le: int | None = None
    min_length: int | None = None
    annotation: Any = None
    metadata: tuple[Any, ...] = ()

    def is_required(self) -> bool:
        return self.default is MISSING and self.default_factory is None

    def value(self) -> Any:
        """The default, new for each that gets it."""
        if self.default_factory is not None:
            return self.default_factory()
        return copy.copy(self.default) if isinstance(self.default, dict | list) else self.default


def Field(
    default: Any = MISSING, *, default_factory: Callable[[], Any] | None = None, alias: str | None = None,
    description: str = "", ge: int | None = None, le: int | None = None, min_length: int | None = None,
) -> Any:
    """What a key is: as the value of a field, or (limits alone) within ``Annotated``."""
    return FieldInfo(default, default_factory, alias, description, ge, le, min_length)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
class Part:
    """A mapping in a file: frozen, with no other keys than its fields, and nothing converted silently.

    ``elsewhere`` holds keys that people may try here, each with the sentence they get. ``strict`` and ``extra``
    (``forbid`` or ``allow``) say how it is read. Making one from keyword arguments checks nothing but their names.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}
    strict: ClassVar[bool] = True
    extra: ClassVar[str] = "forbid"
    _fields: ClassVar[Mapping[str, FieldInfo] | None] = None

    def __init__(self, **values: Any) -> None:
        mine = self.__dict__
        said = set()
        for name, field in fields(type(self)).items():
            if name in values:
                said.add(name)
                mine[name] = values.pop(name)
            elif field.is_required():
                raise TypeError(f"{type(self).__name__} needs {name}")
            else:
                mine[name] = field.value()
        if values and self.extra != "allow":
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")
        mine["_said"], mine["_extra"] = frozenset(said), values
        self.model_post_init(None)

    def model_post_init(self, context: Any, /) -> None:
        """What a model does once its fields are there."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be removed")

    def _values(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in fields(type(self))} | self.model_extra

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Part) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    @property
    def model_extra(self) -> dict[str, Any]:
        """Keys that are no fields, where they are allowed."""
        return self.__dict__["_extra"]

    @property
    def model_fields_set(self) -> frozenset[str]:
        """The fields that were given, and not left to their defaults."""
        return self.__dict__["_said"]

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same with other values in some fields; these are not checked."""
        given = {name: self.__dict__[name] for name in self.model_fields_set} | self.model_extra
        return type(self)(**given | dict(update))

    def model_dump(self, *, mode: str = "python", exclude_none: bool = False, by_alias: bool = False) -> dict[str, Any]:
        """As plain mappings and lists; ``mode="json"`` with nothing in it that JSON lacks."""
        aliases = {name: field.alias or name for name, field in fields(type(self)).items()} if by_alias else {}
        return {aliases.get(name, name): _plain(value, mode == "json", exclude_none, by_alias)
                for name, value in self._values().items() if not (exclude_none and value is None)}

    @classmethod
    def model_validate(cls, data: Any, *, context: Mapping[str, Any] | None = None) -> Self:
        """The model made from plain data. Raises NotValid with every mistake."""
        from opsctl.model.fitting import Unfit, fitted

        try:
            return fitted(cls, data, context)
        except Unfit:
            from opsctl.model import judging

            return judging.judged(cls, data, context)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from opsctl.model import judging

        return judging.part(cls, handler)

    @classmethod
    def mistakes(cls, data: Any) -> Iterator[Mistake]:
        """What is wrong between several keys of ``data``, which is plain and may have any shape at all."""
        return iter(())


def fields(model: type[Part]) -> Mapping[str, FieldInfo]:
    """The fields of a model by name, those of its bases first."""
    found = model.__dict__.get("_fields")
    if found is None:
        found = model._fields = dict(_found(model))
    return found


def _found(model: type[Part]) -> Iterator[tuple[str, FieldInfo]]:
    for owner in reversed(model.__mro__):
        if not (issubclass(owner, Part) and owner is not Part):
            continue
        known = vars(sys.modules[owner.__module__])
        for name, written in vars(owner).get("__annotations__", {}).items():
            if name.startswith("_"):
                continue
            annotation = eval(written, known) if isinstance(written, str) else written
            if annotation is ClassVar or get_origin(annotation) is ClassVar:
                continue
            yield name, _field(annotation, owner.__dict__.get(name, MISSING))


def _field(annotation: Any, given: Any) -> FieldInfo:
    said = given if isinstance(given, FieldInfo) else FieldInfo(given)
    notes: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *listed = get_args(annotation)
        notes = tuple(listed)
    if said.ge is not None or said.le is not None or said.min_length is not None:
        notes = (*notes, FieldInfo(ge=said.ge, le=said.le, min_length=said.min_length))
    return FieldInfo(
        said.default, said.default_factory, said.alias, said.description, annotation=annotation, metadata=notes
    )


def _plain(value: Any, json: bool, exclude_none: bool, by_alias: bool) -> Any:
    if isinstance(value, Part):
        return value.model_dump(mode="json" if json else "python", exclude_none=exclude_none, by_alias=by_alias)
    if isinstance(value, dict | types.MappingProxyType):
        return {key: _plain(inner, json, exclude_none, by_alias) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        listed = [_plain(inner, json, exclude_none, by_alias) for inner in value]
        return listed if json or isinstance(value, list) else tuple(listed)
    if json and isinstance(value, timedelta):
        return format_duration(value)
    return value
