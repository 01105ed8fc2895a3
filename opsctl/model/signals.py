"""Whether what changed in a source since the set before looks like an attack: numbers in, a verdict with its reasons out.

No number condemns a set alone that innocent work makes as well: an import of photographs adds much that does not
compress, a re-compression changes every file, an upgrade renames and replaces half a tree. What condemns is content that is
noise where its name promises something else, many names with a suffix that nobody uses, or a file that nobody touches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from opsctl.model.changes import Changes
from opsctl.model.content import Piece, look
from opsctl.model.quantities import counted, format_size
from opsctl.model.values import value

FORMAT = "opsctl-signals/1"
CLEAN, SUSPECT, UNKNOWN = "clean", "suspect", "unknown"

#: So many scrambled files in a sample, or in those of this set and the last ones together, are no accident.
_SCRAMBLED = 3
#: How many sets a slow attack is summed up over, and the usual is taken from.
LAST = 8
#: So many examples are named.
_EXAMPLES = 10


@value
class Signals:
    """What was seen of one source. ``reasons`` say why it is suspect or unknown, ``notes`` what else stood out.

    ``numbers``: whole numbers and words for ``--json`` and for the sets that come; ``examples``: (path, what is strange of it).
    """

    verdict: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    numbers: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "reasons": list(self.reasons), "notes": list(self.notes),
                "examples": [{"path": path, "why": why} for path, why in self.examples], "numbers": dict(self.numbers or {})}


def unknown(why: str, numbers: Mapping[str, Any] | None = None) -> Signals:
    """Nothing could be judged, and why."""
    return Signals(UNKNOWN, reasons=(why,), numbers=numbers)


def together(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a manifest holds: a suspect source makes the set suspect, otherwise one that is unknown makes it unknown."""
    verdicts = {entry["verdict"] for entry in sources.values()}
    worst = next((verdict for verdict in (SUSPECT, UNKNOWN) if verdict in verdicts), CLEAN)
    return {"format": FORMAT, "verdict": worst, "sources": {name: dict(entry) for name, entry in sources.items()}}


def reasons(signals: Mapping[str, Any]) -> list[str]:
    """Why a set is what it is, each with its source, of the sources that make it so."""
    if signals.get("format") != FORMAT:
        return []
    return [f"{name}: {reason}" for name, entry in signals["sources"].items()
            if entry["verdict"] == signals["verdict"] for reason in entry["reasons"]]


@value
class Sizes:
    """What restic says of one capture, and of the one before it."""

    files: int
    before: int
    added: int
    packed: int


@value
class Sample:
    """What the looked-into files are against their names (``content.look``), by path."""

    found: Mapping[str, str]

    @classmethod
    def of(cls, pieces: Mapping[str, Piece], sealed: Container[str] = ()) -> Sample:
        """``sealed``: holds the paths of files that are encrypted on purpose."""
        return cls({path: "plain" if path in sealed else look(path, piece) for path, piece in pieces.items()})

    def paths(self, what: str) -> list[str]:
        return [path for path, found in self.found.items() if found == what]

    def count(self, *what: str) -> int:
        return sum(found in what for found in self.found.values())


def of_files(changes: Changes, sizes: Sizes, sample: Sample, earlier: Sequence[Mapping[str, Any]],
             canaries: Mapping[str, str] | None = None) -> Signals:
    """Judge a source of files. ``earlier``: what was seen of it in the last sets (``as_json``), newest first.

    ``canaries``: how each file that nobody touches was found: ``there changed gone unplanted``.
    """
    known = [one["numbers"] for one in earlier[:LAST]]
    calm = [one["numbers"] for one in earlier[:LAST] if one["verdict"] != SUSPECT and one["numbers"]]
    renames, strange, instances = changes.renames()
    numbers = _numbers(changes, sizes, sample, renames, strange)
    if canaries:
        numbers["canaries"] = dict(canaries)
    found: list[Found] = [*_of_canaries(canaries or {}), *_of_content(sample, known), *_of_names(changes, sizes, strange, instances)]
    weak = _weak(changes, sizes, sample, numbers, calm)
    if not found and weak.evidence and weak.bulk:
        found = [(f"{weak.evidence[0][0]}, and {weak.bulk[0]}", weak.evidence[0][1])]
    bare = [path for path, how in (canaries or {}).items() if how == "unplanted"]
    notes = [*(f"the canary {path} was never planted: opsctl backup canaries --write" for path in bare), *weak.bulk, *(text for text, _ in weak.evidence if not found)]
    if found:
        examples = [example for _, shown in found for example in shown][:_EXAMPLES]
        return Signals(SUSPECT, tuple(text for text, _ in found), tuple(notes), tuple(examples), numbers)
    if changes.sample and not sample.found:
        return replace(unknown("none of the files that changed could be looked into", numbers), notes=tuple(notes))
    shown = [example for _, examples in weak.evidence for example in examples]
    return Signals(CLEAN, (), tuple(notes), tuple(shown[:_EXAMPLES]), numbers)


def of_first(canaries: Mapping[str, str]) -> Signals:
    """The first set of a source, in which only the canaries tell anything."""
    numbers = {"canaries": dict(canaries)} if canaries else {}
    if found := list(_of_canaries(canaries)):
        return Signals(SUSPECT, tuple(text for text, _ in found), examples=tuple(one for _, shown in found for one in shown), numbers=numbers)
    return unknown("the first set of this source: there is nothing to compare it with", numbers)


def _numbers(changes: Changes, sizes: Sizes, sample: Sample, renames: Mapping[str, int], strange: Mapping[str, int]) -> dict[str, Any]:
    return {
        "files": sizes.files, "files_before": sizes.before, "changed": changes.changed, "added": changes.added,
        "removed": changes.removed, "renamed": dict(renames), "data_added": sizes.added, "data_added_packed": sizes.packed,
        "strange_suffixes": dict(Counter(changes.extensions).most_common(5)), "renamed_to": dict(Counter(strange).most_common(5)),
        "sample": dict(sorted(Counter(sample.found.values()).items())),
    }


Found = tuple[str, Sequence[tuple[str, str]]]


def _of_canaries(canaries: Mapping[str, str]) -> Iterable[Found]:
    for path, how in canaries.items():
        if how in ("changed", "gone"):
            what = "is not as it was planted" if how == "changed" else "is gone"
            yield f"the canary {path}, which nobody has to touch, {what}", [(path, f"canary, {how}")]


def _of_content(sample: Sample, earlier: Sequence[Mapping[str, Any]]) -> Iterable[Found]:
    scrambled = sample.paths("scrambled")
    before = sum(_in_sample(one, "scrambled") for one in earlier)
    examples = [(path, "noise, where its name promises something else") for path in scrambled]
    if len(scrambled) >= _SCRAMBLED:
        yield (f"{len(scrambled)} of {counted(sample.count(*_TOLD), 'changed file')} looked into are noise and not what their names "
               "say, as after encryption", examples)
    elif scrambled and before + len(scrambled) >= _SCRAMBLED:
        yield (f"a few files a set become noise that are not what their names say, as in a slow encryption: {len(scrambled)} in this "
               f"one, {before} in the last {len(earlier)}", examples)


#: What was looked into and large enough to tell.
_TOLD = ("right", "other", "scrambled", "opaque", "plain")


def _of_names(changes: Changes, sizes: Sizes, strange: Mapping[str, int], instances: Mapping[str, str]) -> Iterable[Found]:
    total = sum(strange.values())
    if total >= max(_SCRAMBLED, min(10, sizes.before // 20)):
        most = sorted(strange, key=lambda one: (-strange[one], one))
        shown = ", ".join(f".{suffix} ({strange[suffix]:,})" for suffix in most[:3])
        more = f" and {len(most) - 3:,} more" if len(most) > 3 else ""
        yield (f"{counted(total, 'file')} got a suffix that nobody uses behind the old name: {shown}{more}",
               [(instances[suffix], f"renamed to .{suffix}") for suffix in most[:_EXAMPLES] if suffix in instances])
    if len(changes.notes) >= _SCRAMBLED:
        yield (f"{counted(len(changes.notes), 'folder')} got a file that is named like a demand for ransom",
               [(path, "named like a demand for ransom") for path in list(changes.notes.values())[:3]])


@value
class _Weak:
    """Signs of which one of each sort is needed. ``bulk`` is also made by innocent work; ``evidence`` hardly."""

    bulk: tuple[str, ...]
    evidence: tuple[Found, ...]


def _weak(changes: Changes, sizes: Sizes, sample: Sample, numbers: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> _Weak:
    bulk: list[str] = []
    evidence: list[Found] = []
    touched = _touched(numbers)
    usual = max((_touched(one) for one in earlier), default=0.0)
    if touched >= 0.3 and touched >= 3 * usual:
        bulk.append(f"{_percent(touched)} of all files changed, went or were renamed{_usual(_percent(usual), earlier)}")
    ratio, before = _ratio(numbers), [one for one in (_ratio(one) for one in earlier) if one is not None]
    much = max((one.get("data_added", 0) for one in earlier), default=0)
    if ratio is not None and ratio >= 0.9 and sizes.added >= max(1 << 20, 3 * much) and (not before or ratio >= median(before) + 0.2):
        bulk.append(f"{format_size(sizes.added)} were added that hardly compress (to {_percent(ratio)}"
                    f"{_usual(_percent(median(before)) if before else '', earlier)})")
    told, opaque = sample.count(*_TOLD), sample.paths("opaque")
    often = max((_in_sample(one, "opaque") / max(1, _told(one)) for one in earlier), default=0.0)
    if len(opaque) >= 5 and len(opaque) >= 0.3 * told and len(opaque) / told >= 2 * often:
        evidence.append((f"{len(opaque)} of {counted(told, 'changed file')} looked into are noise", [(path, "noise") for path in opaque]))
    fresh = [(suffix, count) for suffix, count in numbers["strange_suffixes"].items()
             if count >= 10 and count >= 0.2 * changes.added and not any(suffix in one.get("strange_suffixes", {}) for one in earlier)]
    if fresh and changes.removed >= 0.5 * fresh[0][1]:
        suffix, count = fresh[0]
        evidence.append((f"{counted(count, 'file')} came with a suffix that nobody uses, .{suffix}, and {changes.removed:,} went", []))
    scrambled = sample.paths("scrambled")
    if scrambled:
        evidence.append((f"{counted(len(scrambled), 'file')} looked into {'is' if len(scrambled) == 1 else 'are'} noise and not what "
                         "the name says", [(path, "noise, where its name promises something else") for path in scrambled]))
    return _Weak(tuple(bulk), tuple(evidence))


def _touched(numbers: Mapping[str, Any]) -> float:
    """The share of the files of the set before that are no longer what or where they were."""
    return (numbers.get("changed", 0) + numbers.get("removed", 0)) / max(1, numbers.get("files_before", 0))


def _ratio(numbers: Mapping[str, Any]) -> float | None:
    added = numbers.get("data_added", 0)
    return numbers.get("data_added_packed", 0) / added if added else None


def _in_sample(numbers: Mapping[str, Any], what: str) -> int:
    return int(numbers.get("sample", {}).get(what, 0))


def _told(numbers: Mapping[str, Any]) -> int:
    return sum(_in_sample(numbers, what) for what in _TOLD)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}"


def _usual(words: str, earlier: Sequence[Any]) -> str:
    return f"; {words} at most in the last {len(earlier)}" if earlier and words else ""
