"""The shape of a playbook file: inputs, steps, and the graph that ``after`` makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from opsctl.model.fields import (
    Line,
    Mistake,
    Name,
    Names,
    Part,
    Shown,
    entries,
    mapping,
    meant,
    shown,
)
from opsctl.model.part import AfterValidator, BeforeValidator, Field, Strict
from opsctl.model.quantities import parse_duration

REFERENCE = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
"""``${name}``; group 1 is the name of an input, or ``item`` in a step with ``for_each``."""

InputType = Literal[
    "string", "datetime", "integer", "duration", "backup", "source", "repository", "set", "path",
    "host", "zone", "list", "incident",
]  # fmt: skip

NEW = "new"
"""Of an input of type ``incident``: one is opened, and its id is made."""

EVERY = "all"
"""What ``for_each`` goes through where everything of a kind is meant."""


def references(value: Any) -> Iterator[str]:
    """The names that ``value``, a text or a structure of texts, refers to as ``${name}``, in order."""
    if isinstance(value, str):
        yield from REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def _input_name(value: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", value) is None or value == "item":
        raise ValueError("must be small letters, digits and _, starting with a letter; not item")
    return value


def _word(value: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", value) is None:
        raise ValueError("must be the word of an action, such as backup or verify")
    return value


def _titles(value: Any) -> Any:
    return {"en": value} if isinstance(value, str) else value


def _tolerated(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**6:
        return value
    if isinstance(value, str) and re.fullmatch(r"100%|[0-9]{1,2}%", value):
        return value
    raise ValueError("must be a number of items or a share such as 5%")


AT_ONCE = 512
"""As many items of one step can be under way at the same time."""

Word = Annotated[str, AfterValidator(_word), Shown("word")]
InputName = Annotated[str, AfterValidator(_input_name), Shown("name")]
Count = Annotated[int, Field(ge=1, le=10**6), Shown("number")] | None


class Title(Part):
    """What people read: one text, or one in each language (``en`` is always there)."""

    en: Line = Field(description="In English.")
    hi: Line | None = Field(default=None, description="In Hindi.")

    def __str__(self) -> str:
        return self.en

    def text(self, language: str = "en") -> str:
        """In the language, or in English where it is not there."""
        return (self.hi if language == "hi" else None) or self.en


AnyTitle = Annotated[Title, BeforeValidator(_titles), Shown("text, or one for each of en, hi")]


class Input(Part):
    """Something that is told to a playbook when it is run."""

    type: InputType = Field(
        description="What it is; names of configured things are checked when the run is bound."
    )
    help: Line = Field(description="One sentence for the person who is asked.")
    default: Any = Field(
        default=None, description="Taken where nothing is said. Without it the input is required."
    )

    @property
    def required(self) -> bool:
        """Whether it has to be said (it has no default)."""
        return "default" not in self.model_fields_set


class ForEach(Part):
    """Repeats a step: ``{items: [a, b]}`` or ``{hosts: "${zone}"}``, at most ``at_once`` at a time."""

    extra: ClassVar[str] = "allow"

    at_once: Annotated[int, Field(ge=1, le=AT_ONCE), Shown("number")] | None = Field(
        default=None, description="How many of them at the same time; one, or with `waves` a whole wave."
    )
    tolerate: Annotated[int | str, BeforeValidator(_tolerated), Shown("number or share")] = Field(
        default=0, description="How many may fail (`2`, `5%`) before the step counts as failed."
    )
    canary: Count = Field(default=None, description="So many first; the rest only where all of these succeeded.")
    waves: Count = Field(
        default=None, description="So many in a wave; the next one begins when all of it have ended."
    )
    stop_after: Count = Field(
        default=None, description="After so many failures the rest is not begun."
    )

    @property
    def under_way(self) -> int:
        """How many at most at the same time."""
        return self.at_once or min(self.waves or 1, AT_ONCE)

    @property
    def collection(self) -> str:
        """What is gone through: ``items``, ``hosts``, ``sources``, …"""
        return next(iter(self.model_extra or {}), "items")

    @property
    def value(self) -> Any:
        """Of what: a list, or a text such as ``${backup}``."""
        return next(iter((self.model_extra or {}).values()), None)

    def tolerated(self, items: int) -> int:
        """How many of so many may fail; a share is rounded down."""
        if isinstance(self.tolerate, int):
            return self.tolerate
        return items * int(self.tolerate.removesuffix("%")) // 100


class Step(Part):
    """One action, and what it waits for."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "if": "there are no conditions in playbooks: a step that finds nothing to do does nothing",
        "when": "there are no conditions in playbooks: a step that finds nothing to do does nothing",
        "loop": "is written for_each here",
        "action": "is written uses here",
        "needs": "is written after here",
        "depends_on": "is written after here",
    }

    id: Name = Field(description="Name of the step, once in a playbook.")
    uses: Word = Field(description="The word of the action.")
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Parameters of the action; `${input}` stands for an input.",
    )
    after: Names | None = Field(
        default=None, description="Steps that come first; by default the one before. `[]` waits for nothing."
    )
    for_each: ForEach | None = Field(
        default=None, description="Do it for each of these; `${item}` is the one."
    )
    may_fail: bool = Field(default=False, description="A failure does not hold up what comes after.")
    always: bool = Field(default=False, description="Done even where something before it failed.")
    on_unknown: Literal["repeat", "ask"] | None = Field(
        default=None, description="What resume does with an event that was cut off in the middle."
    )
    phase: Name | None = Field(default=None, description="Stage of the response that it belongs to.")
    duty: Name | None = Field(default=None, description="Duty of the protocol that it fulfils.")
    title: AnyTitle | None = Field(default=None, description="What people read.")


class Playbook(Part):
    """A playbook file."""

    name: Name = Field(description="Name, the same as that of the file.")
    title: AnyTitle = Field(description="What people read: a text, or one for each of en, hi.")
    protocol: Name | None = Field(
        default=None, description="Protocol that it is written to, such as `cert-in`."
    )
    incident_types: Names = Field(default=(), description="Types of incident that it answers.")
    inputs: dict[InputName, Input] = Field(default_factory=dict, description="What is told to it, by name.")
    steps: Annotated[tuple[Step, ...], Strict(False), Field(min_length=1)] = Field(
        description="What is done."
    )

    @property
    def graph(self) -> dict[str, tuple[str, ...]]:
        """For each step, in the order of the file, the steps that it waits for."""
        waits: dict[str, tuple[str, ...]] = {}
        before: tuple[str, ...] = ()
        for step in self.steps:
            waits[step.id] = before if step.after is None else step.after
            before = (step.id,)
        return waits

    @classmethod
    def mistakes(cls, data: Any) -> Iterator[Mistake]:
        """Unknown inputs and steps, steps twice or in a circle, defaults of another type than they say."""
        inputs = mapping(data, "inputs")
        for name, entry in entries(data, "inputs"):
            problem = wrong_value(entry.get("type"), entry["default"]) if "default" in entry else None
            if problem:
                yield ("inputs", name, "default"), problem
        listed = data.get("steps") if isinstance(data, dict) else None
        steps = listed if isinstance(listed, list) else []
        for position, step in enumerate(steps):
            if isinstance(step, dict):
                yield from _reference_mistakes(("steps", position), step, inputs)
                yield from _for_each_mistakes(("steps", position, "for_each"), step.get("for_each"))
        yield from _graph_mistakes(steps)


def wrong_value(type_: Any, value: Any) -> str | None:
    """Why ``value`` cannot be an input of this type (by its form alone), or None."""
    if type_ == "list":
        fits = isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
        return None if fits else "must be a list of texts or numbers"
    if type_ == "integer":
        return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"
    if not isinstance(type_, str):
        return None
    if not isinstance(value, str):
        return "must be a text; put it in quotes"
    try:
        if type_ == "duration":
            parse_duration(value)
        if type_ == "datetime" and datetime.fromisoformat(value).tzinfo is None:
            return "must say its offset from UTC, as in 2026-12-01T09:30:00+05:30"
    except ValueError:
        return (
            "must be a duration such as 3d, 12h or 45m"
            if type_ == "duration"
            else "must be a time such as 2026-12-01T09:30:00+05:30"
        )
    return None


def _texts(place: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts((*place, key), inner)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _texts((*place, position), inner)


def _reference_mistakes(
    place: tuple[str | int, ...], step: dict[str, Any], inputs: Iterable[str]
) -> Iterator[Mistake]:
    for key in ("with", "for_each"):
        repeated = key == "with" and "for_each" in step
        known = [*inputs, "item"] if repeated else list(inputs)
        for where, text in _texts((*place, key), step.get(key)):
            for name in REFERENCE.findall(text):
                if name == "item" and not repeated:
                    yield where, "${item} is known only in the with of a step that has for_each"
                elif name not in known:
                    yield where, f"there is no input {shown(name)}{meant(name, known)}"
            if "${" in REFERENCE.sub("", text):
                yield where, "a reference is written ${name}: small letters, digits and _"


def _for_each_mistakes(place: tuple[str | int, ...], value: Any) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        return
    options = ("at_once", "tolerate", "canary", "waves", "stop_after")
    collections = [key for key in value if key not in options]
    if not collections:
        yield place, 'needs what to go through: items: [a, b], or a collection such as sources: "${backup}"'
    for key in collections[1:]:
        yield (*place, key), f"only one thing can be gone through{meant(key, (*options, *collections[:1]))}"
    for key in collections:
        inner = value[key]
        scalars = isinstance(inner, list) and all(isinstance(one, str | int | float) for one in inner)
        if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", key) is None:
            yield (*place, key), "must be the name of a collection: small letters and _"
        elif not isinstance(inner, str) and not scalars:
            yield (*place, key), "must be a list of texts or numbers, or a reference such as ${backup}"


def _graph_mistakes(steps: list[Any]) -> Iterator[Mistake]:
    ids = [step.get("id") if isinstance(step, dict) else None for step in steps]
    first: dict[str, int] = {}
    waits: dict[str, list[str]] = {}
    for position, name in enumerate(ids):
        if not isinstance(name, str):
            continue
        if name in first:
            yield ("steps", position, "id"), f"step {shown(name)} is already there"
            continue
        first[name] = position
    for name, position in first.items():
        after = steps[position].get("after")
        if after is None:
            before = ids[position - 1] if position else None
            waits[name] = [before] if isinstance(before, str) else []
            continue
        waits[name] = []
        for index, other in enumerate(after if isinstance(after, list) else []):
            place = ("steps", position, "after", index)
            if not isinstance(other, str):
                continue
            if other == name:
                yield place, "a step cannot wait for itself"
            elif other not in first:
                yield place, f"there is no step {shown(other)}{meant(other, first)}"
            else:
                waits[name].append(other)
    for circle in _circles(waits):
        yield (
            ("steps", first[circle[0]]),
            f"steps wait for each other: {' → '.join(shown(s) for s in circle)}",
        )


def _circles(waits: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Each group of steps that wait for each other, once, as a walk that ends where it began."""
    done: set[str] = set()
    for start in waits:
        if start in done:
            continue
        depth = {start: 0}
        open_ = [(start, iter(waits[start]))]
        while open_:
            name, rest = open_[-1]
            other = next(rest, None)
            if other is None:
                done.add(name)
                del depth[name]
                open_.pop()
            elif other in depth:
                yield [*(step for step, _ in open_[depth[other] :]), other]
            elif other not in done:
                depth[other] = len(open_)
                open_.append((other, iter(waits[other])))
