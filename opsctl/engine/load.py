"""YAML files read strictly: core types only, a line for every place, every mistake at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import islice
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from opsctl.engine.wording import in_words
from opsctl.errors import ConfigError
from opsctl.model.fields import Part, Place, shown
from opsctl.model.part import NotValid
from opsctl.model.values import value

LARGEST = 4 * 1024 * 1024
DEEPEST = 64
MOST_SHOWN = 500
_MOST_FOUND = 1000

_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?")

# Control characters, the breaks that only YAML counts as lines (lines would differ from an editor's), and the
# signs that make text read otherwise than it is. Joiners stay: Hindi needs them.
_FORBIDDEN = "\r(?!\n)|[\x00-\x09\x0b\x0c\x0e-\x1f\x7f{}]"
_FORBIDDEN_IN_VALUES = "[\x00-\x08\x0b-\x1f\x7f{}]"
_BEYOND_ASCII = "\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"

_SYNTAX = {
    "could not find expected ':'": "a key without ':' (or a text that needs quotes)",
    "mapping values are not allowed in this context": "a second ': ' in this line; put the text in quotes",
    "mapping values are not allowed here": "a second ': ' in this line; put the text in quotes",
    "did not find expected key": "this line is indented otherwise than its neighbours, or quotes are missing",
    "did not find expected '-' indicator": "this line is indented otherwise than the list around it",
    "did not find expected ',' or '}'": "a ',' or '}' is missing",
    "did not find expected ',' or ']'": "a ',' or ']' is missing",
    "did not find expected node content": "a value is missing, or starts with a sign that needs quotes",
    "found character that cannot start any token": "a value that starts with this sign needs quotes",
    "found unexpected end of stream": "quotes that are opened here or above are never closed",
    "exceeded maximum nesting depth": f"nested deeper than {DEEPEST}",
    "block sequence entries are not allowed in this context": "a list cannot start in this line",
}

Checked = TypeVar("Checked", bound=Part)


@value
class Problem:
    """One mistake; ``line`` counts from 1."""

    file: str
    line: int
    place: Place
    message: str

    def __str__(self) -> str:
        where = f"{shown(self.file, 200)}:{self.line}"
        return (
            f"{where}: {path_text(self.place)}: {self.message}" if self.place else f"{where}: {self.message}"
        )


@value
class Document:
    """One file as plain data (None, bool, int, float, str, list, dict by text) and the line of each place.

    ``problems`` is what reading found; data with problems is good only for finding more. ``broken`` are
    places whose value was not taken; ``complete`` is false where reading ended early.
    """

    name: str
    data: Any = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    broken: frozenset[Place] = frozenset()
    complete: bool = True

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def path_text(place: Place) -> str:
    """``steps[1].with.host``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{shown(part)}"
    return text


def _forbidden(marks: str, text: str) -> re.Pattern[str]:
    """The pattern for a text. The whole of it takes long to compile, and most files are ASCII."""
    return re.compile(marks.format("" if text.isascii() else _BEYOND_ASCII))


class _Stop(Exception):
    """Reading cannot go on."""


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Any = None
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self.broken: set[Place] = set()
        self.complete = True
        self.place: Place = ()
        self.next: Any = None

    def problem(self, line: int, place: Place, message: str) -> None:
        self.problems.append(Problem(self.name, line, place, message))
        if len(self.problems) >= _MOST_FOUND:
            raise _Stop

    def read(self, text: str | bytes) -> None:
        content = self.decoded(text)
        if content is None:
            self.complete = False
            return
        loader = _Loader(content)
        self.next = loader.get_event
        try:
            self.stream()
        except _Stop:
            self.complete = False
        except yaml.YAMLError as error:
            self.complete = False
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            said = str(getattr(error, "problem", None) or "something that cannot be read")
            message = _SYNTAX.get(said, shown(said, 120))
            line = mark.line + 1 if mark else 1
            # At the end of the file the mark stands behind the last line.
            self.problem(min(line, content.count("\n") + 1), self.place, f"not readable as YAML: {message}")
        finally:
            loader.dispose()

    def decoded(self, text: str | bytes) -> str | None:
        if len(text) > LARGEST:
            self.problem(1, (), f"the file is larger than {LARGEST // 1024 // 1024} MiB")
            return None
        if isinstance(text, bytes):
            try:
                text = text.decode("utf-8")
            except UnicodeDecodeError as error:
                line = error.object.count(b"\n", 0, error.start) + 1
                self.problem(
                    line, (), f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
                )
                return None
        if text.startswith("\ufeff"):
            self.problem(1, (), "the file starts with a byte order mark; save it as UTF-8 without one")
            text = text[1:]
        last = 0
        for found in _forbidden(_FORBIDDEN, text).finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            if line == last:
                continue
            last = line
            mark = found.group()
            what = (
                "a tab; use spaces" if mark == "\t" else f"the character U+{ord(mark):04X}, which nobody sees"
            )
            self.problem(line, (), f"the line holds {what}")
            if len(self.problems) >= MOST_SHOWN:
                return None
        return _forbidden(_FORBIDDEN, text).sub(" ", text) if last else text

    def stream(self) -> None:
        self.next()  # start of the stream
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            return
        if event.version or event.tags:
            self.problem(event.start_mark.line + 1, (), "lines that start with % are not used here")
        self.root = self.value(self.next(), (), 0, None, None)
        self.next()  # end of the document
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            line = event.start_mark.line + 1
            self.problem(line, (), "a second document starts here (---); one file holds one")
            raise _Stop

    def value(self, event: Any, place: Place, depth: int, parent: Any, key: Any) -> Any:
        """Read one value; a container is put into ``parent`` before it is filled, so that a part remains."""
        self.place = place
        line = event.start_mark.line + 1
        kind = type(event)
        if kind is yaml.AliasEvent:
            self.problem(line, place, "aliases (*name) are not used here; write the value again")
            self.broken.add(place)
            return None
        if event.anchor is not None:
            self.problem(line, place, "anchors (&name) are not used here")
        if event.tag is not None:
            self.problem(line, place, "tags (!name) are not used here")
            self.broken.add(place)
        if kind is yaml.ScalarEvent:
            return self.scalar(event, place, line)
        if depth >= DEEPEST:
            self.problem(line, place[:8], f"nested deeper than {DEEPEST}; the rest of the file was not read")
            raise _Stop
        made: Any = {} if kind is yaml.MappingStartEvent else []
        if depth == 0:
            self.root = made
        elif isinstance(parent, dict):
            parent[key] = made
        elif parent is not None:
            parent.append(made)
        if isinstance(made, dict):
            self.mapping(made, place, depth)
        else:
            self.sequence(made, place, depth)
        return made

    def scalar(self, event: Any, place: Place, line: int) -> Any:
        text: str = event.value
        if not event.style:
            return resolve(text)
        if event.style == '"' and (found := _forbidden(_FORBIDDEN_IN_VALUES, text).search(text)):
            self.problem(
                line, place, f"the text holds the character U+{ord(found.group()):04X}, which nobody sees"
            )
            self.broken.add(place)
        return text

    def sequence(self, made: list[Any], place: Place, depth: int) -> None:
        while True:
            event = self.next()
            if type(event) is yaml.SequenceEndEvent:
                return
            here = (*place, len(made))
            self.lines[here] = event.start_mark.line + 1
            size = len(made)
            value = self.value(event, here, depth + 1, made, None)
            if len(made) == size:
                made.append(value)

    def mapping(self, made: dict[str, Any], place: Place, depth: int) -> None:
        while True:
            event = self.next()
            if type(event) is yaml.MappingEndEvent:
                return
            line = event.start_mark.line + 1
            key, taken = self.key(event, place, line, depth)
            if taken and key in made:
                first = self.lines[(*place, key)]
                self.problem(line, (*place, key), f"is already there, in line {first}")
                taken = False
            here = (*place, key if taken else f"{key} (not taken)")
            self.lines[here] = line
            value = self.value(self.next(), here, depth + 1, made if taken else None, key)
            if taken:
                made[key] = value

    def key(self, event: Any, place: Place, line: int, depth: int) -> tuple[str, bool]:
        """A key, and whether the value below it is to be taken."""
        self.place = place
        if type(event) is not yaml.ScalarEvent:
            self.problem(line, place, "a key must be one word or a text in quotes")
            self.value(event, (*place, "key"), depth + 1, None, None)
            return "key", False
        text: str = event.value
        if event.anchor is not None or event.tag is not None:
            self.problem(line, (*place, text), "anchors (&name) and tags (!name) are not used here")
        if not event.style:
            if text == "<<":
                self.problem(line, (*place, text), "merge keys (<<) are not used here; write the keys again")
                return text, False
            if not isinstance(resolve(text), str):
                self.problem(line, (*place, text), "a key must be text; put it in quotes")
                self.broken.add((*place, text))
        elif event.style == '"' and _forbidden(_FORBIDDEN_IN_VALUES, text).search(text):
            self.problem(line, place, f"the key {shown(text)} holds a character that nobody sees")
            self.broken.add((*place, text))
        return text, True


def resolve(text: str) -> Any:
    """What a plain scalar means: true, false, null, a decimal number, or text (``on``, ``022``, ``+91``)."""
    first = text[:1]
    if first in "-0123456789" and first:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        return text
    return _WORDS.get(text, text)


def load_document(text: str | bytes, name: str) -> Document:
    """Read one file. Raises nothing: what is wrong stands in ``problems`` until ``validate`` reports it."""
    reader = _Reader(name)
    reader.read(text)
    return Document(
        name, reader.root, reader.lines, tuple(reader.problems), frozenset(reader.broken), reader.complete
    )


@value
class Merged:
    """Several documents as one: a mapping of the top level may stand in several, each entry of it in one."""

    documents: Sequence[Document]
    data: Any
    owners: Mapping[Place, Document]
    problems: Sequence[Problem]

    def owner(self, place: Place) -> Document:
        for length in (2, 1):
            found = self.owners.get(place[:length]) if len(place) >= length else None
            if found:
                return found
        return self.documents[0]

    def at(self, place: Place, message: str) -> Problem:
        owner = self.owner(place)
        return Problem(owner.name, owner.line(place), place, message)


def merge(documents: Sequence[Document]) -> Merged:
    """Put the two top levels of several files together; a key in two files is a problem naming both."""
    data: dict[str, Any] = {}
    owners: dict[Place, Document] = {}
    problems: list[Problem] = []
    if len(documents) == 1 and not isinstance(documents[0].data, dict):
        return Merged(documents, documents[0].data, owners, problems)
    for document in documents:
        if not isinstance(document.data, dict):
            if document.data is not None:
                problems.append(Problem(document.name, 1, (), "the file must be a mapping (key: value)"))
            continue
        for key, found in document.data.items():
            there = data.get(key)
            if key not in data:
                data[key] = dict(found) if isinstance(found, dict) else found
                owners[(key,)] = document
                entries = found if isinstance(found, dict) else {}
            elif isinstance(found, dict) and isinstance(there, dict):
                entries = found
            else:
                problems.append(_twice(owners[(key,)], document, (key,)))
                continue
            for name, entry in entries.items():
                place = (key, name)
                if place in owners:
                    problems.append(_twice(owners[place], document, place))
                else:
                    data[key][name] = entry
                    owners[place] = document
    return Merged(documents, data, owners, problems)


def _twice(first: Document, second: Document, place: Place) -> Problem:
    message = f"is already there, in {shown(first.name, 200)}:{first.line(place)}"
    return Problem(second.name, second.line(place), place, message)


def validate(
    model: type[Checked],
    documents: Sequence[Document],
    *,
    context: Mapping[str, Any] | None = None,
    what: str = "the configuration",
) -> Checked:
    """The model made from one or more documents.

    ``context`` goes to the fields (``directory``: where relative paths start). Raises ConfigError with every
    mistake of all files as ``file:line: path: message``, in the order of the files.
    """
    merged = merge(documents)
    problems = [problem for document in documents for problem in document.problems]
    problems += merged.problems
    made: Checked | None = None
    try:
        made = model.model_validate(merged.data, context=dict(context or {}))
    except NotValid as error:
        for place, message, missing in islice(in_words(error, model, merged.data), _MOST_FOUND):
            if _telling(merged, place, missing):
                problems.append(merged.at(place, message))
    # A file that was not read to its end may hold what others refer to.
    if all(document.complete for document in documents):
        problems += [merged.at(place, message) for place, message in _sense(merged, model)]
    if problems or made is None:
        raise _error(problems, documents, what)
    return made


def _sense(merged: Merged, model: type[Part]) -> Iterator[tuple[Place, str]]:
    for place, message in islice(model.mistakes(merged.data), _MOST_FOUND):
        if _telling(merged, place, False):
            yield place, message


def _telling(merged: Merged, place: Place, missing: bool) -> bool:
    """Whether a mistake is more than the echo of one that reading found."""
    owner = merged.owner(place)
    if any(place[:length] in owner.broken for length in range(len(place) + 1)):
        return False
    partial = not owner.complete if len(place) > 2 else not all(one.complete for one in merged.documents)
    return not (missing and partial)


def _error(problems: Sequence[Problem], documents: Sequence[Document], what: str) -> ConfigError:
    order = {document.name: position for position, document in enumerate(documents)}
    told = sorted(dict.fromkeys(problems), key=lambda problem: (order[problem.file], problem.line))
    lines = [str(problem) for problem in told[:MOST_SHOWN]]
    if len(told) > MOST_SHOWN:
        lines.append(f"… and {len(told) - MOST_SHOWN} more")
    count = "a mistake" if len(told) == 1 else f"{len(told)} mistakes"
    first = f"{shown(told[0].file, 200)}:{told[0].line}" if told else None
    return ConfigError(f"{count} in {what}", problems=lines, where=first)
