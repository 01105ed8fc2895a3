"""What restic prints becomes values: its JSON, what stands between it, and never a stack of Go calls."""

from __future__ import annotations

import json

import pytest

from opsctl.repositories import restic_output
from opsctl.repositories.restic_verdict import read_verdict
from opsctl.shells.interface import Result

PANIC = b"""panic: runtime error: slice bounds out of range [16:5]

goroutine 28 [running]:
github.com/restic/restic/internal/repository.(*Repository).LoadUnpacked(0xc000381450)
\tgithub.com/restic/restic/internal/repository/repository.go:185 +0x1f0
"""
SUMMARY = (
    b'{"message_type":"summary","num_errors":%d,"broken_packs":null,'
    b'"suggest_repair_index":false,"suggest_prune":false}\n'
)


def test_lines_of_both_kinds() -> None:
    said = restic_output.sort_lines(
        b'Warning: something\n{not json\n{"message_type":"status","percent_done":0.5}\n'
        b'[]\n{"message_type":"summary","snapshot_id":"ab"}\n\n'
    )
    assert said.lines == ("Warning: something", "{not json", "[]")
    assert [each["snapshot_id"] for each in said.of("summary")] == ["ab"] and not said.of("status")


def test_summary() -> None:
    output = restic_output.sort_lines(
        b'Warning\n{"message_type":"summary","total_files_processed":2,"snapshot_id":"ab"}'
    )
    found = restic_output.summary(output, restic_output.Said(), ())
    assert found is not None and (found.snapshot, found.files, found.bytes) == (
        "ab",
        2,
        0,
    )  # zeros are left out
    assert restic_output.summary(restic_output.Said(), restic_output.Said(), ()) is None


def test_unreadable_directory_is_one() -> None:
    """restic names it relatively while it archives and absolutely while it scans."""
    errors = restic_output.sort_lines(
        b'{"message_type":"error","error":{"message":"openfile failed: open data/closed: permission denied"},'
        b'"during":"archival","item":"data/closed"}\n'
        b'{"message_type":"error","error":{"message":"open /srv/data/closed: permission denied"},'
        b'"during":"scan","item":"/srv/data/closed"}\n'
        b'{"message_type":"error","error":{"message":"open data/x: denied"},'
        b'"during":"archival","item":"data/x"}\n'
        b"/srv/gone does not exist, skipping\n"
    )
    assert restic_output.unreadable(errors, ["/srv/data"]) == (
        ("/srv/data/closed", "permission denied"),
        ("/srv/data/x", "denied"),
        ("/srv/gone", "does not exist"),
    )


def test_what_restic_lacks_of_the_set_before_is_not_called_unreadable() -> None:
    def error(item: str, message: str) -> bytes:
        return json.dumps({"message_type": "error", "error": {"message": f"{item}: {message}"}, "item": item}).encode() + b"\n"

    tree = "tree " + "0a" * 32
    errors = restic_output.sort_lines(
        error("/srv/data/f1", "parts of data/f1 not found in the repository index; storing the file again")
        + error("/srv/data/f2", "parts of data/f2 not found in the repository index; storing the file again")
        + error("/srv/data/f2", "open /srv/data/f2: permission denied")
        + error("/", f"{tree} is not known; the repository could be damaged, run `repair index` to try to repair it")
        + error("/srv", f"{tree} could not be loaded; the repository could be damaged: decrypting failed")
        + error("/srv/parts of x not found in the repository index; storing the file again", "permission denied")
    )
    output = restic_output.sort_lines(b'{"message_type":"summary","snapshot_id":"ab"}')
    found = restic_output.summary(output, errors, ["/srv/data"])
    assert found is not None and found.anew == ("/", "/srv/data/f1", "/srv/data/f2")
    assert found.unreadable == (
        ("/srv/data/f2", "permission denied"),
        ("/srv/parts of x not found in the repository index; storing the file again", "permission denied"),
    )
    assert found.torn == (("/srv", f"{tree} could not be loaded; the repository could be damaged: decrypting failed"),)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (PANIC, "restic crashed"),
        (
            b'noise\n{"message_type":"exit_error","message":"Fatal: reason\\nmain.run\\n\\tmain.go:1"}',
            "reason",
        ),
        (
            b'{"message_type":"exit_error","code":1,"message":"Error loading snapshot 1d17dcc6\\n'
            b'github.com/restic/restic/internal/restic.x\\n\\t/src/x.go:56"}',
            "Error loading snapshot 1d17dcc6",
        ),
        (b"unknown flag: --nope\n", "unknown flag: --nope"),
        (b"", "it said nothing"),
    ],
)
def test_complaints(errors: bytes, said: str) -> None:
    assert restic_output.complaint(errors) == said


def test_find_prints_complaints_between_its_objects() -> None:
    stream = (
        b'[{"path":"/a","snapshot":"s"}Unable to load tree 12\n ... which\n,{"path":"/b","snapshot":"s"}\n]'
    )
    assert [each["path"] for each in restic_output.objects(stream)] == ["/a", "/b"]


def test_progress_has_time_left() -> None:
    backup = restic_output.progress(
        {"seconds_elapsed": 10, "seconds_remaining": 30, "total_bytes": 400, "bytes_done": 100}, "x"
    )
    assert (backup.bytes_done, backup.bytes_total, backup.seconds_left) == (100, 400, 30)
    restore = restic_output.progress(
        {"seconds_elapsed": 10, "total_bytes": 400, "bytes_restored": 50, "bytes_skipped": 50}, "x"
    )
    assert (restore.bytes_done, restore.seconds_left) == (100, 30)
    assert restic_output.progress({}, "x").seconds_left is None
    dump = restic_output.progress({"seconds_elapsed": 1, "seconds_remaining": 1 << 62, "bytes_done": 100}, "x")
    assert dump.seconds_left is None


def test_patterns_are_exact() -> None:
    assert restic_output.pattern(b"/a[b]*?\\c") == b"/a\\[b]\\*\\?\\\\c"


def check(code: int, output: bytes, errors: bytes = b"") -> Result:
    return Result(("restic",), code, output, errors, 0.0)


def test_a_check_that_did_not_begin_is_no_verdict() -> None:
    """Locked, wrong password and no repository print a summary with one error as well."""
    for code in (2, 10, 11, 12, 130, -9):
        assert read_verdict(check(code, SUMMARY % 1)) is None
    network = b'{"message_type":"exit_error","code":1,"message":"Fatal: dial tcp: connection refused"}'
    assert read_verdict(check(1, SUMMARY % 1, network)) is None
    assert read_verdict(check(1, SUMMARY % 1, PANIC)) is None
    assert read_verdict(check(0, b"")) is None


def test_a_verdict() -> None:
    fatal = b'{"message_type":"exit_error","code":1,"message":"Fatal: repository contains errors"}\n'
    pack, tree, blob = "a" * 64, "b" * 64, "c" * 64
    errors = (
        f'{{"message_type":"error","message":"pack {pack}: does not exist\\n"}}\n'
        f'{{"message_type":"error","message":"error for tree {tree[:8]}:\\n"}}\n'
        f'{{"message_type":"error","message":"  tree {tree}: file \\"\\\\u0915\\" blob {blob}'
        ' not found in index\\n"}\n'
        f'{{"message_type":"error","message":"\\nThe repository is damaged and must be repaired.\\n\\n"}}\n'
        f'{{"message_type":"error","message":"something new\\nin two lines"}}\n'
    ).encode()
    found = read_verdict(check(1, SUMMARY % 3, errors + fatal))
    assert found is not None
    assert found.packs == {pack: ("pack-missing", "does not exist")}
    assert found.trees == {tree: frozenset({"क"})}
    assert found.others == ("something new in two lines",)
    silent = read_verdict(check(1, SUMMARY % 4, fatal))
    assert silent is not None and silent.others == ("restic check found 4 errors and did not say which",)
    whole = read_verdict(check(0, SUMMARY % 0))
    assert whole is not None and whole.is_empty
