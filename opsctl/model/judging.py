"""Asks pydantic what is wrong with data that does not fit its model, or only fits once something is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticKnownError, core_schema

from opsctl.model.fitting import two_arguments
from opsctl.model.part import AfterValidator, BeforeValidator, FieldInfo, Note, NotValid, Part, Strict, fields

Made = TypeVar("Made", bound=Part)
TAG = "‹"
"""How the words for sorts begin in pydantic's places, so that they are told from keys."""


def judged(model: type[Made], data: Any, context: Mapping[str, Any] | None = None) -> Made:
    """The model made from plain data. Raises NotValid with every mistake."""
    try:
        made: Made = _adapter(model).validate_python(data, context=dict(context or {}))
    except ValidationError as error:
        raise NotValid(error.errors(include_url=False)) from error
    return made


def json_schema(model: type[Part]) -> dict[str, Any]:
    """The model as a JSON schema, for other programs."""
    return _adapter(model).json_schema()


_ADAPTERS: dict[type[Part], TypeAdapter[Any]] = {}


def _adapter(model: type[Part]) -> TypeAdapter[Any]:
    if model not in _ADAPTERS:
        _ADAPTERS[model] = TypeAdapter(model)
    return _ADAPTERS[model]


def part(model: type[Part], handler: Any) -> core_schema.CoreSchema:
    """pydantic's own description of a model."""
    known = {}
    for name, field in fields(model).items():
        annotation = field.annotation
        if field.metadata:
            annotation = Annotated[(annotation, *field.metadata)]
        known[name] = core_schema.typed_dict_field(
            handler.generate_schema(annotation), required=field.is_required(), validation_alias=field.alias
        )
    mapping = core_schema.typed_dict_schema(
        known, extra_behavior="allow" if model.extra == "allow" else "forbid",
        config=core_schema.CoreConfig(strict=model.strict, hide_input_in_errors=True),
    )
    return core_schema.no_info_wrap_validator_function(
        lambda value, inner: value if type(value) is model else model(**inner(value)), mapping
    )


def noted(note: Note, schema: Any) -> core_schema.CoreSchema:
    """A description with what a note adds to it."""
    match note:
        case AfterValidator(function):
            if two_arguments(function):
                return core_schema.with_info_after_validator_function(function, schema)
            return core_schema.no_info_after_validator_function(function, schema)
        case BeforeValidator(function):
            if two_arguments(function):
                return core_schema.with_info_before_validator_function(function, schema)
            return core_schema.no_info_before_validator_function(function, schema)
        case Strict(strict):
            return {**schema, "strict": strict}
        case FieldInfo():
            return core_schema.no_info_after_validator_function(lambda value: _limited(note, value), schema)
    return schema


def kinds(choices: Mapping[str, type[Part]], handler: Any) -> core_schema.CoreSchema:
    """A description of a mapping whose key ``kind`` says which model it is."""
    return core_schema.tagged_union_schema(
        {f"{TAG}{word}›": handler.generate_schema(model) for word, model in choices.items()}, _kind
    )


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if isinstance(value, dict) or kind is not None:
        return f"{TAG}{kind}›"
    return None


def _limited(limits: FieldInfo, value: Any) -> Any:
    if limits.ge is not None and value < limits.ge:
        raise PydanticKnownError("greater_than_equal", {"ge": limits.ge})
    if limits.le is not None and value > limits.le:
        raise PydanticKnownError("less_than_equal", {"le": limits.le})
    if limits.min_length is not None and len(value) < limits.min_length:
        raise PydanticKnownError(
            "too_short", {"field_type": "Value", "min_length": limits.min_length, "actual_length": len(value)}
        )
    return value
