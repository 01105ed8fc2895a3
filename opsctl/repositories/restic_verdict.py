"""What ``restic check`` said, as facts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from opsctl.repositories import restic_output
from opsctl.shells.interface import Result

_ID = r"[0-9a-f]{64}"
_MISSING = re.compile(rf"^pack (?P<pack>{_ID}): does not exist")
_SIZE = re.compile(rf"^pack (?P<pack>{_ID}): unexpected file size: got (?P<got>\d+), expected (?P<want>\d+)")
_PACK = re.compile(rf"^pack (?P<pack>{_ID}) contains \d+ errors: (?P<text>.*)", re.DOTALL)
_INDEX = re.compile(rf"error loading index (?P<index>{_ID}): (?P<text>.*)")
_SNAPSHOT = re.compile(
    r"(?:failed to load snapshot|snapshot error) (?P<snapshot>[0-9a-f]{8,64}): (?P<text>.*)"
)
_TREE = re.compile(r"^error for tree (?P<tree>[0-9a-f]{8,64}):")
_NO_TREE = re.compile(rf"\bid (?P<tree>{_ID}) not found in repository")
_NO_BLOB = re.compile(rf'tree (?P<tree>{_ID}): file (?P<name>".*") blob {_ID} not found in index')
_FROM_PACK = re.compile(r"from (?P<pack>[0-9a-f]{8,64}) failed|ReadFull\(<data/(?P<full>[0-9a-f]{8,64})>\)")
_ADVICE = re.compile(
    r"^\s*(The repository|restic repair|Damaged (pack|snapshot) files|download error|partial download"
    r"|check successful|pack [0-9a-f]{8,64} contain(ed in several|s a mix)|(Duplicate|Mixed) packs|$)"
)


@dataclass(frozen=True)
class Verdict:
    """``packs`` and ``indexes`` by full id; ``snapshots`` by the id that restic printed; ``trees``: id (full
    where known) to the names of files in it whose content is missing, none where the tree cannot be read."""

    packs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    short_packs: frozenset[str] = frozenset()
    expected_sizes: Mapping[str, int] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    trees: Mapping[str, frozenset[str]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    orphan_packs: bool = False

    @property
    def is_empty(self) -> bool:
        return not (
            self.packs or self.short_packs or self.indexes or self.snapshots or self.trees or self.others
        )

    def also_in(self, other: Verdict) -> Verdict:
        """What both say."""
        return Verdict(
            packs={name: fact for name, fact in self.packs.items() if name in other.packs},
            short_packs=self.short_packs & other.short_packs,
            expected_sizes=self.expected_sizes,
            indexes={name: text for name, text in self.indexes.items() if name in other.indexes},
            snapshots={name: text for name, text in self.snapshots.items() if name in other.snapshots},
            trees={
                name: files & other.trees[name] for name, files in self.trees.items() if name in other.trees
            },
            others=self.others if other.others else (),
            orphan_packs=self.orphan_packs or other.orphan_packs,
        )

    def joined(self, other: Verdict) -> Verdict:
        """What either says."""
        return Verdict(
            packs={**self.packs, **other.packs},
            short_packs=self.short_packs | other.short_packs,
            expected_sizes={**self.expected_sizes, **other.expected_sizes},
            indexes={**self.indexes, **other.indexes},
            snapshots={**self.snapshots, **other.snapshots},
            trees={**self.trees, **other.trees},
            others=self.others + other.others,
            orphan_packs=self.orphan_packs or other.orphan_packs,
        )


def read_verdict(result: Result) -> Verdict | None:
    """The facts of a ``check --json``; None where it did not come to a verdict (locked, no network, crashed).

    The exit code decides: a check that could not begin prints a summary with one error as well.
    """
    output, errors = restic_output.sort_lines(result.stdout), restic_output.sort_lines(result.stderr)
    summaries = output.of("summary") or errors.of("summary")
    fatal = [str(each.get("message", "")) for each in errors.of("exit_error")]
    if result.code not in (0, 1) or not summaries or restic_output.panicked(result.stderr):
        return None
    if result.code == 1 and not any("contains errors" in text for text in fatal):
        return None
    summary = summaries[-1]
    found = _Facts()
    if result.code == 1:
        for each in errors.of("error"):
            found.take(restic_output.error_message(each).strip("\n"))
        for name in summary.get("broken_packs") or ():
            found.packs.setdefault(name, ("pack-damaged", "broken"))
    others = tuple(found.others)
    if result.code == 1 and not (found.packs or found.indexes or found.snapshots or found.trees or others):
        others = (f"restic check found {summary.get('num_errors', 'some')} errors and did not say which",)
    return Verdict(
        packs=found.packs,
        short_packs=frozenset(
            short for short in found.short_packs if not any(name.startswith(short) for name in found.packs)
        ),
        expected_sizes=found.sizes,
        indexes=found.indexes,
        snapshots=found.snapshots,
        trees={name: frozenset(files) for name, files in found.trees.items()},
        others=others,
        orphan_packs=bool(summary.get("suggest_prune")),
    )


class _Facts:
    """Collects what the error lines say; a tree's short id stands on the line before its errors."""

    def __init__(self) -> None:
        self.packs: dict[str, tuple[str, str]] = {}
        self.short_packs: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.indexes: dict[str, str] = {}
        self.snapshots: dict[str, str] = {}
        self.trees: dict[str, set[str]] = {}
        self.others: list[str] = []
        self._tree: str | None = None

    def take(self, text: str) -> None:
        if match := _TREE.match(text):
            self._tree = match["tree"]
        elif match := _MISSING.match(text):
            self.packs[match["pack"]] = ("pack-missing", "does not exist")
        elif match := _SIZE.match(text):
            self.packs[match["pack"]] = ("pack-truncated", f"{match['got']} of {match['want']} bytes")
            self.sizes[match["pack"]] = int(match["want"])
        elif match := _PACK.match(text):
            self.packs.setdefault(match["pack"], ("pack-damaged", match["text"]))
        elif match := _INDEX.search(text):
            self.indexes[match["index"]] = match["text"]
        elif match := _SNAPSHOT.search(text):
            self.snapshots[match["snapshot"]] = match["text"]
        elif match := _NO_BLOB.search(text):
            self.trees.setdefault(match["tree"], set()).add(_unquoted(match["name"]))
        elif match := _NO_TREE.search(text):
            self.trees.setdefault(match["tree"], set())
        elif match := _FROM_PACK.search(text):
            self.short_packs.add(match["pack"] or match["full"])
            self.trees.setdefault(self._tree or "", set())
        elif not _ADVICE.match(text):
            self.others.append(restic_output.clean(text).replace("\n", " ").strip())


def _unquoted(name: str) -> str:
    """A file name as Go's ``%q`` wrote it."""
    try:
        return str(json.loads(name))
    except ValueError:
        return name[1:-1]
