"""Values with shared methods behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace
from typing import Any

import pytest

from opsctl.model.values import value


@value
class Ours:
    """A value."""

    word: str
    number: int = 3
    more: Mapping[str, int] = field(default_factory=dict)
    hidden: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Theirs:
    """The same by the standard library."""

    word: str
    number: int = 3
    more: Mapping[str, int] = field(default_factory=dict)
    hidden: str = field(default="", compare=False, repr=False)


@pytest.mark.parametrize(("given", "named"), [
    (("a",), {}), (("a", 4), {}), ((), {"word": "a", "more": {"x": 1}}), (("a", 4, {"y": 2}, "h"), {}),
    ((), {}), (("a",), {"word": "b"}), (("a",), {"colour": "red"}), (("a", 1, {}, "h", 5), {}), ((), {"number": 4}),
])  # fmt: skip
def test_made_as_the_standard_library_makes_them(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    try:
        theirs = Theirs(*given, **named)
    except TypeError:
        with pytest.raises(TypeError):
            Ours(*given, **named)
        return
    ours = Ours(*given, **named)
    assert asdict(ours) == asdict(theirs)  # type: ignore[call-overload]
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert asdict(replace(ours, number=9)) == asdict(replace(theirs, number=9))  # type: ignore[type-var, call-overload]


def test_compared_hashed_copied() -> None:
    one, two = Ours("a", more=(), hidden="x"), Ours("a", more=(), hidden="y")  # type: ignore[arg-type]
    assert one == two and hash(one) == hash(two) and len({one, two, Ours("b", more=())}) == 2  # type: ignore[arg-type]
    assert one != ("a", 3, (), "x") and one != Theirs("a", more=(), hidden="x")  # type: ignore[arg-type]
    assert copy.deepcopy(one) == one and pickle.loads(pickle.dumps(one)) == one
    match one:
        case Ours(word, number):
            assert (word, number) == ("a", 3)


def test_defaults_are_nobody_elses() -> None:
    assert Ours("a").more is not Ours("a").more


def test_frozen() -> None:
    made = Ours("a")
    with pytest.raises(FrozenInstanceError):
        made.word = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.word
    with pytest.raises(FrozenInstanceError):
        made.other = 1  # type: ignore[attr-defined]
