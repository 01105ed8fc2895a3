"""What changed between two snapshots of files, summed up as it is listed: numbers, renames, and a sample to look into."""

from __future__ import annotations

import fnmatch
import random
import re
from array import array
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping

from opsctl.model.content import is_known, suffixes

#: How many of the changed and of the added files are looked into.
SAMPLE = 160

#: How many different extensions are counted; a tree with more has names that are no extensions.
_EXTENSIONS = 20_000

NOTE = re.compile(r"decrypt|ransom|how.{0,3}to.{0,3}(?:restore|recover|unlock|back)|(?:restore|recover|unlock|back).{0,4}(?:your|my|all)?.{0,2}files"
                   r"|files?.{0,4}(?:encrypted|locked)|your.{0,3}(?:files|data).{0,6}(?:are|is)", re.IGNORECASE)
#: Suffixes that an attack puts behind a name may hold dots: a number of the victim, an address to write to.
_DEEP = 4


class Sealed(Container[str]):
    """The files that are encrypted on purpose, by patterns of their names."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._matches = re.compile("|".join(fnmatch.translate(one) for one in patterns) or r"(?!)").match

    def __contains__(self, path: object) -> bool:
        return self._matches(str(path).rpartition("/")[2]) is not None


class Changes:
    """Sums up ``restic diff``, a path at a time: about 150 bytes of memory for each of them.

    ``sample``: the paths of files that changed, and of files that came, each by chance with equal right; ``seed`` makes the
    same choice again. ``watched``: those of the watched paths that the diff names; ``sealed`` holds what is encrypted on purpose.
    """

    def __init__(self, seed: str, watched: Collection[str] = (), sealed: Container[str] = ()) -> None:
        self._sealed = sealed
        self.watched: set[str] = set()
        self._watch = frozenset(watched)
        self.changed = 0
        self.added = 0
        self.removed = 0
        self.notes: dict[str, str] = {}
        self._chance = random.Random(seed)
        self._samples: dict[str, list[str]] = {"M": [], "+": []}
        self._extensions: Counter[str] = Counter()
        self._gone: set[int] = set()
        self._gone_stems: set[int] = set()
        self._gone_names: set[int] = set()
        self._came = array("q")  # of each file that came: its path with one, two, … suffixes less, its stem, its name
        self._last: list[str] = []
        self._first: dict[str, str] = {}

    def take(self, path: str, modifier: str) -> None:
        """One line of a diff. Folders end in ``/`` and are not counted."""
        if path.endswith("/"):
            return
        if path in self._watch:
            self.watched.add(path)
        if modifier in ("M", "?", "T"):
            self.changed += 1
            self._choose("M", path, self.changed)
        elif modifier == "+":
            self.added += 1
            self._choose("+", path, self.added)
            self._arrive(path)
        elif modifier == "-":
            self.removed += 1
            folder, _, name = path.rpartition("/")
            self._gone.add(hash(path))
            self._gone_names.add(hash(name))
            if "." in name.lstrip("."):
                self._gone_stems.add(hash(f"{folder}/{name.rpartition('.')[0]}"))

    @property
    def sample(self) -> list[str]:
        return [*self._samples["M"], *self._samples["+"]]

    @property
    def extensions(self) -> Mapping[str, int]:
        """How many files came by their last suffix, of those that nobody uses."""
        return self._extensions

    def renames(self) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[str, str]]:
        """(``appended``, ``replaced`` and ``moved`` files, how many were renamed to each strange suffix, an example of each).

        ``appended``: the whole old name with more behind it; ``replaced``: with another suffix; ``moved``: the same name in
        another folder. A strange suffix is one that neither people nor programs use.
        """
        counts = {"appended": 0, "replaced": 0, "moved": 0}
        strange: Counter[str] = Counter()
        wide = _DEEP + 2
        for number, last in enumerate(self._last):
            keys = self._came[number * wide:(number + 1) * wide]
            if any(key in self._gone for key in keys[:_DEEP] if key):
                counts["appended"] += 1
            elif keys[_DEEP] and keys[_DEEP] in self._gone_stems:
                counts["replaced"] += 1
            elif keys[_DEEP + 1] in self._gone_names:
                counts["moved"] += 1
                continue
            else:
                continue
            if last and not is_known(last):
                strange[last] += 1
        return counts, strange, {suffix: self._first[suffix] for suffix in strange if suffix in self._first}

    def _choose(self, kind: str, path: str, seen: int) -> None:
        kept = self._samples[kind]
        if len(kept) < SAMPLE:
            kept.append(path)
        elif (place := int(self._chance.random() * seen)) < SAMPLE:
            kept[place] = path

    def _arrive(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        ends = suffixes(name)
        last = ends[0] if ends else ""
        known = not last or is_known(last) or path in self._sealed
        if not known and (last in self._extensions or len(self._extensions) < _EXTENSIONS):
            self._extensions[last] += 1
            self._first.setdefault(last, path)
        keys, short = [], name
        for _ in ends[:_DEEP]:
            short = short.rpartition(".")[0]
            keys.append(hash(f"{folder}/{short}"))
        stem = hash(f"{folder}/{name.rpartition('.')[0]}") if ends else 0
        self._came.extend([*keys, *[0] * (_DEEP - len(keys)), stem, hash(name)])
        self._last.append(last if not known else "")
        if len(self.notes) < 100 and NOTE.search(name) and folder not in self.notes:
            self.notes[folder] = path
