"""Comparing the proofs of two databases."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from opsctl.proofs.rows import compare, is_proof, what_it_shows

PROOF: dict[str, Any] = {
    "kind": "rows",
    "algorithm": "a-v1",
    "level": "full",
    "server_version": 150018,
    "encoding": "UTF8",
    "collate": "C",
    "ctype": "C",
    "tables": {"public.a": {"rows": 3, "sum": "17"}, "public.b": {"rows": 0, "sum": "0"}},
    "sequences": {
        "public.up": {"last": "7", "step": "1"},
        "public.down": {"last": "-7", "step": "-1"},
        "public.round": {"last": "3", "step": "1", "cycles": True},
        "public.new": {"step": "1"},
    },
    "large_objects": {"rows": 2, "bytes": "10", "sum": "5"},
    "objects": {
        "table public.a": "owner=x indexes=2 grants=3 #12ab",
        "view public.v": "owner=x grants=1 #ff",
        "extension e": "",
    },
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """The proof with one value replaced; ``to=None`` takes it away."""
    made = copy.deepcopy(PROOF)
    place = made
    for word in path[:-1]:
        place = place[word]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return made


def shown(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in compare(expected, actual)]


def test_equal_proofs() -> None:
    assert compare(PROOF, copy.deepcopy(PROOF)) == []


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (changed("tables", "public.a", "sum", to="18"), "table public.a, checksum: expected 17, found 18"),
        (
            changed("tables", "public.a", to={"rows": 2, "sum": "9"}),
            "table public.a, rows: expected 3, found 2",
        ),
        (changed("tables", "public.a", to=None), "table public.a: expected 3 rows, found missing"),
        (
            changed("tables", "public.c", to={"rows": 1, "sum": "1"}),
            "table public.c: expected missing, found 1 rows",
        ),
        (changed("large_objects", "sum", to="6"), "large objects, checksum: expected 5, found 6"),
        (changed("large_objects", "bytes", to="11"), "large objects, bytes: expected 10, found 11"),
        (
            changed("sequences", "public.up", "last", to="6"),
            "sequence public.up: expected 7 or higher, found 6",
        ),
        (
            changed("sequences", "public.up", "last", to=None),
            "sequence public.up: expected 7 or higher, found nothing drawn yet",
        ),
        (
            changed("sequences", "public.down", "last", to="-6"),
            "sequence public.down: expected -7 or lower, found -6",
        ),
        (changed("sequences", "public.round", to=None), "sequence public.round: expected 3, found missing"),
        (
            changed("objects", "view public.v", to=None),
            "view public.v: expected owner=x grants=1, found missing",
        ),
        (changed("objects", "extension e", to=None), "extension e: expected there, found missing"),
        (
            changed("objects", "view public.w", to="owner=y #1"),
            "view public.w: expected missing, found owner=y",
        ),
        (
            changed("objects", "table public.a", to="owner=x indexes=1 grants=3 #99"),
            "table public.a, indexes: expected 2, found 1",
        ),
        (
            changed("objects", "table public.a", to="owner=x indexes=2 grants=3 #99"),
            "table public.a, definition: expected 12ab, found 99",
        ),
        (changed("encoding", to="LATIN1"), "encoding: expected UTF8, found LATIN1"),
        (changed("algorithm", to="a-v2"), "algorithm: expected a-v1, found a-v2"),
    ],
)
def test_every_difference_is_named_once(actual: dict[str, Any], expected: str) -> None:
    assert shown(PROOF, actual) == [expected]


@pytest.mark.parametrize(
    "actual",
    [
        changed("sequences", "public.up", "last", to="8"),
        changed("sequences", "public.down", "last", to="-8"),
        changed("sequences", "public.round", "last", to="1"),
        changed("sequences", "public.new", "last", to="1"),
        changed("server_version", to=150001),
    ],
)
def test_what_may_differ(actual: dict[str, Any]) -> None:
    assert compare(PROOF, actual) == []


def test_between_major_versions_names_count_and_details_do_not() -> None:
    newer = changed("objects", "table public.a", to="owner=x indexes=2 grants=4 #77")
    newer["server_version"] = 170002
    assert compare(PROOF, newer) == []
    del newer["objects"]["view public.v"]
    assert shown(PROOF, newer) == ["view public.v: expected owner=x grants=1, found missing"]


def test_counts_compare_rows_only() -> None:
    counts = {
        **PROOF,
        "level": "counts",
        "tables": {"public.a": {"rows": 3}, "public.b": {"rows": 0}},
        "large_objects": {"rows": 2},
    }
    assert compare(counts, PROOF) == []
    assert shown(counts, changed("tables", "public.a", "rows", to=4)) == [
        "table public.a, rows: expected 3, found 4"
    ]


def test_what_was_not_proven_is_called_so() -> None:
    off = {"kind": "rows", "algorithm": "a-v1", "level": "off"}
    assert not is_proof(off) and is_proof(PROOF)
    assert compare(off, PROOF) == []
    assert what_it_shows(off) == "nothing: the backup was made with proof off"
    assert what_it_shows(PROOF) == "rows and checksums of 2 tables"
    assert what_it_shows({**PROOF, "level": "counts"}) == "row counts of 2 tables, not their content"
