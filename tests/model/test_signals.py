"""The verdict over what changed: by value."""

from __future__ import annotations

import random
from typing import Any

from opsctl.model.changes import SAMPLE, Changes, Sealed
from opsctl.model.content import Piece
from opsctl.model.signals import Sample, Signals, Sizes, of_files, reasons, together, unknown


def changes(*lines: str) -> Changes:
    found = Changes("seed")
    for line in lines:
        modifier, path = line.split(" ", 1)
        found.take(path, modifier)
    return found


def judged(found: Changes, sample: dict[str, str] | None = None, *, before: int = 1000, added: int = 0, packed: int = 0,
           earlier: tuple[dict[str, Any], ...] = (), canaries: dict[str, str] | None = None) -> Signals:
    looked = dict.fromkeys(found.sample, "right") if sample is None else sample
    return of_files(found, Sizes(before, before, added, packed), Sample(looked), earlier, canaries)


def quiet(**numbers: Any) -> dict[str, Any]:
    base = {"files": 1000, "files_before": 1000, "changed": 20, "added": 5, "removed": 5, "data_added": 1 << 20,
            "data_added_packed": 1 << 18, "sample": {"right": 25}}
    return {"verdict": "clean", "numbers": {**base, **numbers}}


def test_nothing_that_changed_is_clean() -> None:
    assert judged(changes()).verdict == "clean"


def test_three_scrambled_files_among_many_are_enough() -> None:
    found = changes(*(f"M /srv/{number}.pdf" for number in range(150)))
    sample = dict.fromkeys(found.sample, "right") | {f"/srv/{number}.pdf": "scrambled" for number in range(3)}
    seen = judged(found, sample)
    assert seen.verdict == "suspect" and seen.examples[0][0] == "/srv/0.pdf"
    assert "3 of 150 changed files" in seen.reasons[0]


def test_one_scrambled_file_is_told_and_the_third_in_a_row_of_sets_is_suspect() -> None:
    found = changes("M /srv/a.pdf")
    assert (first := judged(found, {"/srv/a.pdf": "scrambled"})).verdict == "clean"
    assert "noise" in first.notes[0] and first.examples
    earlier = (quiet(sample={"right": 9, "scrambled": 1}), quiet(sample={"scrambled": 1}))
    assert judged(found, {"/srv/a.pdf": "scrambled"}, earlier=earlier).verdict == "suspect"
    assert judged(found, {"/srv/a.pdf": "right"}, earlier=earlier).verdict == "clean"


def test_photographs_recompression_and_an_upgrade_are_not_suspect() -> None:
    photographs = changes(*(f"+ /srv/2026/{number}.jpg" for number in range(900)))
    assert (seen := judged(photographs, added=1 << 30, packed=(1 << 30) - 5, earlier=(quiet(), quiet()))).verdict == "clean"
    assert "hardly compress" in seen.notes[0]
    again = changes(*(f"M /srv/2026/{number}.jpg" for number in range(1000)))
    assert judged(again, added=1 << 30, packed=1 << 30, earlier=(quiet(),)).verdict == "clean"
    upgrade = changes(*(f"- /opt/app-1/{number}.so" for number in range(900)), *(f"+ /opt/app-2/{number}.so" for number in range(900)))
    assert judged(upgrade, added=1 << 30, packed=1 << 28).verdict == "clean"


def test_bulk_with_noise_of_nameless_files_is_suspect_and_each_alone_is_not() -> None:
    found = changes(*(f"M /srv/{number}.dat" for number in range(600)))
    noise = dict.fromkeys(found.sample, "opaque")
    assert judged(found, noise, earlier=(quiet(),)).verdict == "suspect"
    few = changes(*(f"M /srv/{number}.dat" for number in range(10)))
    assert judged(few, dict.fromkeys(few.sample, "opaque"), earlier=(quiet(),)).verdict == "clean"
    used = (quiet(sample={"opaque": 90, "right": 10}),)
    assert judged(found, noise, earlier=used).verdict == "clean", "these files always were noise"


def test_a_strange_suffix_behind_many_names_is_suspect_whatever_is_in_the_files() -> None:
    lines = [line for number in range(40) for line in (f"- /srv/{number}.pdf", f"+ /srv/{number}.pdf.id-7[mail@x.invalid].lokt")]
    seen = judged(changes(*lines))
    assert seen.verdict == "suspect" and ".lokt (40)" in seen.reasons[0] and seen.numbers
    assert seen.numbers["renamed"] == {"appended": 40, "replaced": 0, "moved": 0}
    packed = [line for number in range(40) for line in (f"- /srv/{number}.log", f"+ /srv/{number}.log.gz")]
    assert judged(changes(*packed)).verdict == "clean"
    kept = [line for number in range(40) for line in (f"- /srv/{number}.cfg", f"+ /srv/{number}.cfg.bak")]
    assert judged(changes(*kept)).verdict == "clean"
    turned = [line for number in range(40) for line in (f"- /srv/a/{number}.pdf", f"+ /srv/b/{number}.pdf")]
    assert (moved := judged(changes(*turned))).verdict == "clean" and moved.numbers
    assert moved.numbers["renamed"]["moved"] == 40


def test_what_is_encrypted_on_purpose_accuses_nobody() -> None:
    lines = [line for number in range(40) for line in (f"- /srv/{number}.docx", f"+ /srv/{number}.docx.gpg")]
    assert judged(changes(*lines)).verdict == "suspect"
    sealed = Sealed(["*.gpg", "vault-*"])
    found = Changes("seed", sealed=sealed)
    for line in lines:
        found.take(line[2:], line[0])
    assert judged(found).verdict == "clean"
    noise = Piece(random.Random(1).randbytes(4096), b"", 4096)
    pieces = {f"/srv/vault-{number}.pdf": noise for number in range(5)}
    assert Sample.of(pieces, sealed).count("plain") == 5 and Sample.of(pieces).count("scrambled") == 5


def test_a_replaced_suffix_counts_too() -> None:
    lines = [line for number in range(12) for line in (f"- /srv/{number}.docx", f"+ /srv/{number}.wncry")]
    assert judged(changes(*lines)).verdict == "suspect"


def test_demands_for_ransom_in_many_folders_are_suspect() -> None:
    assert judged(changes(*(f"+ /srv/{number}/HOW_TO_DECRYPT.txt" for number in range(3)))).verdict == "suspect"
    assert judged(changes(*(f"+ /srv/{number}/README.txt" for number in range(30)))).verdict == "clean"


def test_a_canary_is_suspect_by_itself_and_one_that_was_never_planted_is_not() -> None:
    assert judged(changes(), canaries={"/srv/aa.docx": "gone"}).verdict == "suspect"
    assert judged(changes(), canaries={"/srv/aa.docx": "changed"}).verdict == "suspect"
    assert judged(changes(), canaries={"/srv/aa.docx": "unplanted"}).verdict == "clean"


def test_what_could_not_be_looked_into_is_unknown() -> None:
    seen = judged(changes("M /srv/a.pdf"), {})
    assert seen.verdict == "unknown" and "could be looked into" in seen.reasons[0]


def test_a_sample_is_bounded_the_same_again_and_drawn_from_all() -> None:
    lines = [f"M /srv/{number}" for number in range(20_000)]
    once, again = changes(*lines), changes(*lines)
    assert once.sample == again.sample and len(once.sample) == SAMPLE
    assert max(int(path.rpartition("/")[2]) for path in once.sample) > 15_000


def test_the_worst_source_makes_the_verdict_of_a_set() -> None:
    calm, dark = Signals("clean", numbers={}).as_json(), unknown("the first set").as_json()
    bad = Signals("suspect", ("noise",), numbers={}).as_json()
    assert together({"a": calm})["verdict"] == "clean"
    assert together({"a": calm, "b": dark})["verdict"] == "unknown"
    found = together({"a": calm, "b": dark, "c": bad})
    assert found["verdict"] == "suspect" and reasons(found) == ["c: noise"]
