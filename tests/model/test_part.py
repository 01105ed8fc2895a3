"""Mappings as frozen values: made, compared, copied, written out; and converted where a model is not strict."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar

import pytest

from opsctl.model.part import AfterValidator, Field, NotValid, Part, Strict, Told


def _beside(value: str, told: Told) -> str:
    return f"{told.context['directory']}/{value}"


class Inner(Part):
    """Something small."""

    word: str = "x"
    wait: timedelta = timedelta(minutes=90)


class Outer(Part):
    """Something with something in it."""

    name: str = Field(description="Its name.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    path: Annotated[str, AfterValidator(_beside)] = "p"
    inner: Inner = Inner()
    many: Annotated[tuple[Inner, ...], Strict(False), Field(min_length=1)] | None = None


class Loose(Part):
    """What comes from a command line."""

    strict: ClassVar[bool] = False

    number: int = Field(default=3, ge=1, le=9)
    words: tuple[str, ...] = ()


def test_made_from_plain_data() -> None:
    made = Outer.model_validate({"name": "n", "with": {"a": [1]}, "path": "q", "many": [{"word": "y"}]},
                                context={"directory": "/etc"})
    assert made == Outer(name="n", with_={"a": [1]}, path="/etc/q", many=(Inner(word="y"),))
    assert made.model_fields_set == {"name", "with_", "path", "many"}
    assert made.inner is not None and made.inner.word == "x"
    assert Outer.model_validate(made) is made


def test_defaults_are_nobody_elses() -> None:
    one, two = Outer(name="n"), Outer(name="n")
    one.with_["a"] = 1
    assert two.with_ == {}


def test_frozen_and_compared_by_value() -> None:
    made = Inner(word="y")
    with pytest.raises(AttributeError, match="frozen"):
        made.word = "z"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del made.word
    assert made == Inner(word="y") and made != Inner() and made != {"word": "y"}
    assert len({made, Inner(word="y"), Inner()}) == 2
    assert repr(made) == "Inner(word='y', wait=datetime.timedelta(seconds=5400))"


def test_made_with_words_that_are_not_there() -> None:
    with pytest.raises(TypeError, match="has no colour"):
        Inner(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs name"):
        Outer()  # type: ignore[call-arg]


def test_copied_and_written_out() -> None:
    made = Outer(name="n", many=(Inner(),))
    copied = made.model_copy(update={"name": "m"})
    assert (copied.name, made.name) == ("m", "n") and copied.many == made.many
    assert made.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "name": "n", "with": {}, "path": "p", "inner": {"word": "x", "wait": "1h30m"},
        "many": [{"word": "x", "wait": "1h30m"}],
    }
    assert made.model_dump()["inner"]["wait"] == timedelta(minutes=90)


@pytest.mark.parametrize(("data", "kinds"), [
    ({}, {"missing"}),
    ({"name": 3}, {"string_type"}),
    ({"name": "n", "colour": "red", "inner": {"word": None}}, {"extra_forbidden", "string_type"}),
    ({"name": "n", "many": []}, {"too_short"}),
    ({"name": "n", "inner": {"wait": "3d"}}, {"time_delta_type"}),
    ("n", {"dict_type"}),
])  # fmt: skip
def test_every_mistake_is_told(data: Any, kinds: set[str]) -> None:
    with pytest.raises(NotValid) as caught:
        Outer.model_validate(data, context={"directory": "/etc"})
    assert {found["type"] for found in caught.value.errors()} == kinds


def test_what_is_not_strict_is_converted_within_its_limits() -> None:
    assert Loose.model_validate({"number": "7", "words": ["a"]}) == Loose(number=7, words=("a",))
    for number, kind in ((0, "greater_than_equal"), ("10", "less_than_equal"), ("x", "int_parsing")):
        with pytest.raises(NotValid) as caught:
            Loose.model_validate({"number": number})
        assert [found["type"] for found in caught.value.errors()] == [kind]
