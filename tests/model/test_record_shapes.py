"""Records of any shape: what is not as we write it is named, and nothing in it is used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.record_shapes import mistake
from opsctl.model.records import MANIFEST, VERIFICATION, Record
from opsctl.model.sets import judge
from opsctl.model.signals import Signals, together
from opsctl.model.snapshots import Snapshot, parse_time
from opsctl.proofs import content, files, rows, shows

ID = "0" * 64
SOURCE = {"kind": "paths", "snapshot": ID, "tree": ID, "files": 1, "bytes": 2, "data_added_packed": 3, "seconds": 0.5,
          "paths": ["/srv/portal"], "proof": {"kind": "files", "algorithm": "a", "files": 1, "bytes": 2}, "accepted": []}
RECORD: dict[str, Any] = {
    "format": MANIFEST, "backup": "portal", "set": "20261212-0230-7f3a", "time": "2026-12-12T02:30:00+05:30",
    "repository": ID, "sources": {"files": SOURCE}, "previous": {"set": "20261209-0230-7f3a", "manifest": ID},
}
VERIFIED: dict[str, Any] = {
    "format": VERIFICATION, "repository": ID, "run": "r", "time": "2026-12-12T02:30:00Z", "level": "data", "shares": [1],
    "total": 30, "damaged": False, "findings": [{"kind": "pack-damaged"}],
}
SIGNALS = together({"files": Signals("clean", ("a",), ("b",), (("/srv/a", "noise"),), {"changed": 1, "sample": {"right": 1}}).as_json()})


def signals(**entry: Any) -> dict[str, Any]:
    """With other values in its source."""
    return {**SIGNALS, "sources": {"files": {**SIGNALS["sources"]["files"], **entry}}}


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "backup is a mapping": lambda record: record.update(backup={"a": 1}),
    "set is a list": lambda record: record.update(set=["x"]),
    "set climbs": lambda record: record.update(set="../x"),
    "sources is a list": lambda record: record.update(sources=[]),
    "source climbs": lambda record: record["sources"].update({"../x": SOURCE}),
    "source is absolute": lambda record: record["sources"].update({"/etc": SOURCE}),
    "source is a text": lambda record: record["sources"].update(files="x"),
    "bytes is a text": lambda record: record["sources"]["files"].update(bytes="many"),
    "files is yes": lambda record: record["sources"]["files"].update(files=True),
    "snapshot is an option": lambda record: record["sources"]["files"].update(snapshot="--help"),
    "no proof": lambda record: record["sources"]["files"].pop("proof"),
    "rows without a level": lambda record: record["sources"]["files"].update(proof={"kind": "rows", "algorithm": "a"}),
    "paths climb": lambda record: record["sources"]["files"].update(paths=["/../../etc/shadow"]),
    "paths are relative": lambda record: record["sources"]["files"].update(paths=["etc"]),
    "time is a number": lambda record: record.update(time=5),
    "time has no zone": lambda record: record.update(time="2026-12-12T00:00:00"),
    "previous is a text": lambda record: record.update(previous="x"),
    "another format": lambda record: record.update(format="x/1"),
    "signals are a list": lambda record: record.update(signals=[]),
    "signals of no verdict": lambda record: record.update(signals={**SIGNALS, "verdict": ["clean"]}),
    "signals with reasons that are no text": lambda record: record.update(signals=signals(reasons=[{}])),
    "signals with numbers that are none": lambda record: record.update(signals=signals(numbers={"changed": "many"})),
    "signals with a sample that is none": lambda record: record.update(signals=signals(numbers={"sample": {"scrambled": []}})),
    "signals with examples that are none": lambda record: record.update(signals=signals(examples=["x"])),
}


def test_what_we_write_is_right() -> None:
    assert mistake(RECORD) is None
    assert mistake({**RECORD, "previous": None}) is None
    assert mistake({**RECORD, "signals": SIGNALS}) is None
    assert mistake({**RECORD, "signals": {"format": "opsctl-signals/2", "verdict": 7}}) is None, "of a later version, and not used"
    assert mistake(VERIFIED) is None


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_what_we_would_never_write_is_named(change: Callable[[dict[str, Any]], Any]) -> None:
    record = copy.deepcopy(RECORD)
    change(record)
    assert mistake(record)


ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | (
    st.dictionaries(st.text(), inner)), max_leaves=5)


PROVEN: dict[str, dict[str, Any]] = {
    "paths": SOURCE["proof"],
    "postgresql": {"kind": "rows", "algorithm": "a", "level": "full", "server_version": 150018, "encoding": "UTF8",
                   "collate": "C", "ctype": "C", "locale_provider": "c", "locale": "C", "icu_rules": "",
                   "tables": {"public.a": {"rows": 1, "sum": "2"}}, "large_objects": {"rows": 0, "bytes": "0", "sum": "0"},
                   "sequences": {"public.s": {"last": "5", "step": "1", "cycles": True}},
                   "objects": {"table public.a": "owner=x columns=1 #ab"}},
    "sqlite": {"kind": "rows", "algorithm": "a", "level": "counts", "sha256": ID, "integrity": "ok", "bytes": 2,
               "tables": {"a": {"rows": 1}}, "objects": {"table a": "#ab"}},
    "command": {"kind": "content", "algorithm": "sha256", "files": 1, "bytes": 2, "sha256": ID, "listed": {"a": [2, ID]}},
}


@pytest.mark.parametrize("kind", PROVEN)
def test_proofs_that_we_write_are_right(kind: str) -> None:
    assert mistake({**RECORD, "sources": {"db": {**SOURCE, "kind": kind, "proof": PROVEN[kind]}}}) is None


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Everything inside, as (what holds it, its key)."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


@given(st.sampled_from(sorted(PROVEN)), st.data())
def test_a_proof_that_passes_can_be_used(kind: str, data: st.DataObject) -> None:
    """Whatever is put wherever into a manifest: it is refused, or nothing that reads it stumbles."""
    record = copy.deepcopy({**RECORD, "sources": {"db": {**SOURCE, "kind": kind, "proof": PROVEN[kind]}}})
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(_places(record)[1:]))
        if data.draw(st.booleans()) and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = data.draw(ANY)
    if mistake(record) is not None:
        return
    snapshot = Snapshot(ID, None, ID, parse_time("2026-12-12T00:00:00Z"), "h", (), ("opsctl", "manifest"))
    judgement = judge(repository_id=ID, snapshots=[snapshot], records={ID: Record(ID, record, signer="SHA256:x")},
                      trusted=(), ledger=(), now=parse_time("2026-12-12T00:00:00Z"))
    view = judgement.sets[0]
    assert view.bytes + view.added >= 0
    for entry in view.sources.values():
        proof = entry["proof"]
        assert shows(proof) and entry["paths"][0]
        if proof["kind"] == "rows":
            assert not [*rows.compare(proof, proof)] or proof != proof
            rows.compare(proof, PROVEN["postgresql"])
            rows.compare({**proof, "algorithm": "a"}, PROVEN["postgresql"])
        elif proof["kind"] == "files" and entry["kind"] == "paths":
            files.compare(proof, files.Count(1, 2))
        elif proof["kind"] == "content":
            content.compare(proof, PROVEN["command"])


@given(st.sampled_from([RECORD, VERIFIED]), st.data())
def test_nothing_of_any_shape_is_an_accident(record: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands in a field: it is right, or the line that says what is wrong names a field of ours."""
    fields = {*RECORD, *SOURCE, *VERIFIED}
    key = data.draw(st.sampled_from(sorted(set(record) - {"format"})))
    of_a_source = data.draw(st.sampled_from(sorted(SOURCE)))
    for odd in ({**record, key: data.draw(ANY)}, {**RECORD, "sources": {"files": {**SOURCE, of_a_source: data.draw(ANY)}}}):
        said = mistake(odd)
        assert said is None or any(field in said.split() for field in fields) or "nested" in said or "is no source" in said, said
