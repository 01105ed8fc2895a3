"""Work on paper on the command line: ordered in two languages, numbered, entered, reconciled, and closing waits for it."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from opsctl.cli import paper_common
from opsctl.engine.incident_folder import Folder
from tests.machine import Kept, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "asha", "--type", "malicious-code", "--zone", "portal")
BODIES = """id,name,name_hi,counters,series
indore,Indore Municipal Corporation,इंदौर नगर निगम,Main office;Zone 3,IND-PT;IND-WT
rewa,Rewa Municipal Corporation,रीवा नगर निगम,Main office,REW
"""
LISTED = """निकाय,रसीद क्रमांक,दिनांक,सेवा,नाम,राशि
indore,IND-PT-000001,22/12/2026,संपत्ति कर,राम,"1,23,456.50"
indore,IND-PT-000002,22/12/2026,संपत्ति कर,श्याम,500
indore,IND-PT-000002,22/12/2026,संपत्ति कर,श्याम,500
indore,IND-PT-000004,22/12/2026,जल प्रभार,=cmd|'/C calc'!A0,300
indore,IND-PT-000005,22/12/2026,जल प्रभार,=cmd|'/C calc'!A0,300
indore,IND-WT-501,20/12/2026,जल प्रभार,गीता,२५०.५०
रीवा नगर निगम,3,22-12-2026,water,सीता,₹ 1/-
"""


@pytest.fixture(scope="module")
def made(_made_machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("paper") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    machine.configure(more="""
organisation: {name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}
zones: {portal: {title: Portal, public_services: [property-tax, water]}}
people: {asha: {name: Asha Verma, phone: "+91 00000 00001"}}
paper:
  services: {property-tax: {name: Property tax, name_hi: संपत्ति कर}, water: {name: Water charges, name_hi: जल प्रभार}}
  signatory: Commissioner
  signatory_hi: आयुक्त
""")
    machine.at("2026-12-21T03:00:00+05:30")
    (machine.root / "bodies.csv").write_text(BODIES)
    machine("paper", "bodies", str(machine.root / "bodies.csv"), expect=0)
    machine(*OPEN, expect=0)
    machine("paper", "order", "--since", "2026-12-21T10:00+05:30", expect=0)
    machine.at("2026-12-28T12:00:00+05:30")
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def put(machine: Machine, name: str, text: str) -> str:
    path = machine.root / name
    path.write_text(text)
    return str(path)


def offline(machine: Machine) -> Path:
    return machine.state / "incidents" / "inc-1" / "offline" / "1"


def numbered(machine: Machine) -> None:
    machine("paper", "receipts", "indore", "IND-PT", "1-6", expect=0)
    machine("paper", "receipts", "rewa", "1-10", expect=0)
    machine("paper", "receipts", "--restored", put(machine, "restored.csv", "body,series,number\nindore,IND-WT,500\n"), "--cut",
            put(machine, "cut.csv", "निकाय,रसीद\nindore,IND-WT-502\n"), expect=0)


def test_bodies_come_from_a_list_whole_or_not_at_all_and_twice_is_the_same(machine: Machine) -> None:
    before = (machine.etc / "bodies.yaml").read_text()
    refused = machine("paper", "bodies", put(machine, "b.csv", "id,name,series\nX Y,Dewas,\nrewa,Another,\nnew,New,A B C!\n"), expect=10)
    for said in ("b.csv:2: id: X Y must be a name", "b.csv:3: id: rewa is in the configuration already", "b.csv:4: series"):
        assert said in refused.err, refused.err
    assert (machine.etc / "bodies.yaml").read_text() == before
    again = machine.json("paper", "bodies", put(machine, "b.csv", BODIES + "dewas,Dewas,देवास,,\n"), expect=0)
    assert again.result["added"] == ["dewas"] and again.result["kept"] == ["indore", "rewa"]
    assert [one["id"] for one in machine.json("paper", "bodies").result["bodies"]] == ["indore", "rewa", "dewas"]


def test_the_order_is_there_in_both_languages_with_blanks_for_what_nobody_knows(machine: Machine) -> None:
    text = (offline(machine) / "order-1.hi.txt").read_text()
    assert "इंदौर नगर निगम (indore)" in text and "संपत्ति कर: ____" in text and "आयुक्त" in text and "अगले आदेश तक" in text
    said = machine("paper", "order", "--number", "UDHD/77", "--extend", "property-tax=15/01/2027", expect=0)
    assert "Property tax: 15/01/2027" in said.out and "left blank: due dates of water" in said.out
    pages = subprocess.run(["pdftotext", "-layout", offline(machine) / "order-2.en.pdf", "-"], capture_output=True, text=True, check=True).stdout.split("\f")
    assert "Indore Municipal Corporation" in pages[0] and "Rewa Municipal Corporation" in pages[1]
    assert "UDHD/77" in pages[0] and "15/01/2027" in pages[0] and "21/12/2026 10:00 IST (UTC+05:30)" in pages[0] and "Asha Verma" in pages[0]
    assert "stands as it is" in machine("paper", "order", expect=0).out and not (offline(machine) / "order-3.en.txt").exists()
    refused = machine("paper", "order", "--service", "watr", expect=2)
    assert "did you mean water?" in refused.err


def test_a_number_that_somebody_has_is_refused_and_nothing_is_given_out(machine: Machine) -> None:
    numbered(machine)
    refused = machine("paper", "receipts", "--from", put(machine, "r.csv", "body,series,first,last\nrewa,REW,11,20\nrewa,REW,8,9\n"), expect=23)
    assert "REW 8-9 for rewa: rewa has REW 1-10" in refused.err
    assert [one["last"] for one in machine.json("paper", "receipts", "rewa").result["ranges"]] == [10]
    within = machine("paper", "receipts", "--from", put(machine, "r.csv", "body,series,first,last\nrewa,REW,11,20\nrewa,REW,15,30\nindor,A,1,2\nrewa,REW,9,3\n"), expect=10)
    for said in ("r.csv:3: first: line 2 gives REW 11-20 to rewa", "r.csv:4: body: there is no body indor; did you mean indore?", "r.csv:5: last: 3 comes before 9"):
        assert said in within.err, within.err
    machine("paper", "receipts", "rewa", "1-10", expect=0)  # the same once more
    assert len(machine.json("paper", "receipts", "rewa").result["ranges"]) == 1


def test_every_bad_row_is_named_at_once_and_nothing_is_half_taken(machine: Machine) -> None:
    numbered(machine)
    refused = machine("paper", "import", put(machine, "bad.csv", """body,number,date,amount,payed
indor,IND-PT-1,31/02/2026,12.345,
indore,7,22/12/2026,"12,34",
rewa,x,22/12/2026,5,
rewa,1,2
rewa,4,22/12/2026,5,
"""), expect=10)
    for said in ("bad.csv:2: body: there is no body indor; did you mean indore?", "bad.csv:2: date: 31/02/2026 is no day", "bad.csv:2: amount: 12.345 is no amount",
                 "bad.csv:3: amount: 12,34 has commas", "bad.csv:3: series: is missing: it has IND-PT, IND-WT", "bad.csv:4: number: x is no receipt number",
                 "bad.csv:5: has 3 cells, the first line 5"):
        assert said in refused.err, refused.err
    assert machine.json("paper", "reconcile", expect=3).result["bodies"][1]["entered"] == 0
    assert "column number is missing" in machine("paper", "import", put(machine, "x.csv", "body,date,amount\n"), expect=10).err
    (machine.root / "latin.csv").write_bytes("body,number,date,amount,payer\nrewa,1,22/12/2026,5,Jos\xe9\n".encode("latin-1"))
    assert "CSV UTF-8" in machine("paper", "import", str(machine.root / "latin.csv"), expect=10).err


def test_a_name_that_two_bodies_have_is_asked_about_and_never_guessed(machine: Machine) -> None:
    machine("paper", "bodies", put(machine, "b.csv", "id,name\nrewa-2,REWA Municipal Corporation\n"), expect=0)
    listed = "body,series,number,date,amount\nRewa Municipal Corporation,REW,1,22/12/2026,5\n"
    refused = machine("paper", "import", put(machine, "r.csv", listed), expect=10)
    assert "r.csv:2: body: Rewa Municipal Corporation is the name of rewa, rewa-2: write which one" in refused.err
    machine("paper", "import", put(machine, "r.csv", listed.replace("Rewa Municipal Corporation", "rewa-2")), expect=0)


@pytest.mark.parametrize("words", [("receipts", "rewa", "11-20"), ("receipts", "--cut", "CUT"), ("import", "LIST")])
def test_nothing_is_given_out_or_entered_for_an_incident_that_is_closed_in_between(machine: Machine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(machine)
    files = {"CUT": put(machine, "cut.csv", "body,series,number\nindore,IND-WT,503\n"), "LIST": put(machine, "list.csv", LISTED)}
    real = paper_common.alone

    def closed_first(site: Any, *more: Any) -> Any:
        site.incidents.write("incident.closed", {"incident": "inc-1", "by": "imran", "note": "done"})
        return real(site, *more)

    monkeypatch.setattr(paper_common, "alone", closed_first)
    assert "was closed" in machine("paper", *(files.get(word, word) for word in words), expect=23).err
    assert machine.json("incident", "show", "inc-1").result["timeline"][-1]["text"] == "closed: done"


def test_what_was_entered_is_held_against_what_was_given_out_and_closing_waits_for_it(machine: Machine) -> None:
    numbered(machine)
    listed = put(machine, "in.csv", LISTED)
    first = machine.json("paper", "import", listed, expect=0).result
    assert (first["rows"], first["added"], first["total"]) == (7, 7, "1,25,308.00")
    assert machine.json("paper", "import", listed, expect=0).result["added"] == 0
    found = {one["body"]: one for one in machine.json("paper", "reconcile", expect=3).result["bodies"]}
    assert [one["id"] for one in found["indore"]["findings"]] == [
        "gap:IND-PT:3", "rest:IND-PT:6", "lost:IND-WT:502", "double:IND-PT:2:2", "same:IND-PT:4+IND-PT:5:2"]
    assert [one["id"] for one in found["rewa"]["findings"]] == ["gap:REW:1-2", "rest:REW:4-10", "unknown:all"]
    assert found["indore"]["lost_window_entered"] == 1 and {one["service"]: one["rupees"] for one in found["indore"]["sums"]} == {
        "property-tax": "123956.50", "water": "850.50"}
    assert "in.csv:3, in.csv:4" in found["indore"]["findings"][3]["text"]
    with (offline(machine) / "findings.csv").open(encoding="utf-8-sig", newline="") as source:
        cells = [cell for row in csv.reader(source) for cell in row]
    assert any("=cmd" in cell for cell in cells) and not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    closing = machine("incident", "close", "inc-1", expect=23).err
    assert "indore is not reconciled" in closing and "rewa is not reconciled" in closing
    assert "takes a note" in machine("paper", "reconcile", "rewa", "--settle", "rest", expect=2).err
    assert "for one body" in machine("paper", "reconcile", "--settle", "gap:REW:1-2", "--note", "x", expect=2).err
    machine("paper", "reconcile", "rewa", "--settle", "gap:REW:1-2", "--settle", "rest", "--settle", "unknown", "--note", "spoiled, seen", "--by", "asha", expect=0)
    machine("paper", "reconcile", "--done", "--note", "agreed with finance", "--by", "asha", expect=3)
    closing = machine("incident", "close", "inc-1", expect=23).err
    assert "indore is not reconciled" in closing and "rewa" not in closing
    machine("paper", "import", put(machine, "more.csv", "body,number,date,amount\nrewa,5,22/12/2026,7\n"), expect=0)
    assert "rewa is not reconciled" in machine("incident", "close", "inc-1", expect=23).err  # what came since opens it again
    machine("journal", "verify", expect=0)


def test_findings_come_back_with_their_last_column_filled_in(machine: Machine) -> None:
    numbered(machine)
    machine("paper", "import", put(machine, "in.csv", LISTED), expect=0)
    machine("paper", "reconcile", "rewa", "--settle", "rest", "--note", "came back", "--by", "asha", expect=3)
    machine("paper", "reconcile", expect=3)
    with (offline(machine) / "findings.csv").open(encoding="utf-8-sig", newline="") as source:
        head, *rows = list(csv.reader(source))
    assert head[-1] == "settled"
    filled = machine.root / "filled.csv"
    with filled.open("w", newline="") as target:
        csv.writer(target).writerows([head, *([*row[:-1], row[-1] or ("seen" if row[0] == "rewa" else "")] for row in rows)])
    machine("paper", "reconcile", "--settle-from", str(filled), "--by", "ravi", expect=3)
    found = {one["body"]: {each["id"]: each["settled"] for each in one["findings"]} for one in machine.json("paper", "reconcile", expect=3).result["bodies"]}
    assert found["rewa"] == {"gap:REW:1-2": "seen (ravi)", "rest:REW:4-10": "came back (asha)", "unknown:all": "seen (ravi)"}
    assert set(found["indore"].values()) == {""}
    wrong = put(machine, "w.csv", "body,finding,note\nrewa,gap:REW:1-3,x\nindor,gap:1,y\n")
    refused = machine("paper", "reconcile", "--settle-from", wrong, expect=10).err
    assert "w.csv:2: finding: rewa has no finding gap:REW:1-3; did you mean gap:REW:1-2?" in refused and "w.csv:3: body: there is no body indor" in refused


def test_the_index_is_made_anew_and_a_list_that_was_changed_is_found(machine: Machine) -> None:
    numbered(machine)
    machine("paper", "import", put(machine, "in.csv", LISTED), expect=0)
    before = machine.json("paper", "reconcile", expect=3).result["bodies"]
    index = offline(machine).parent / ".index-1.sqlite"
    kept_with_it = Folder(machine.state / "incidents" / "inc-1").files()[0]
    assert any(name.startswith("offline/1/entered-") for name in kept_with_it) and not any("sqlite" in name for name in kept_with_it)
    for content in (None, b"no database at all"):
        index.unlink() if content is None else index.write_bytes(content)
        assert machine.json("paper", "reconcile", expect=3).result["bodies"] == before
    [kept] = offline(machine).glob("entered-*.csv")
    kept.write_text(kept.read_text().replace("500.00", "5.00", 1))
    index.unlink()
    assert "is not what was entered" in machine("paper", "reconcile", expect=22).err
    machine("paper", "import", str(machine.root / "in.csv"), expect=0)
    assert machine.json("paper", "reconcile", expect=3).result["bodies"] == before


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    before = sorted(path.name for path in offline(machine).iterdir())
    machine("--dry-run", "paper", "receipts", "rewa", "1-10", expect=0)
    machine("--dry-run", "paper", "import", put(machine, "in.csv", LISTED), expect=0)
    assert "would be drafted" in machine("--dry-run", "paper", "order", "--number", "9", expect=0).out
    assert sorted(path.name for path in offline(machine).iterdir()) == before
    assert machine.json("paper", "receipts").result["ranges"] == []


def test_hostile_text_in_names_stays_text(machine: Machine) -> None:
    assert "cannot be seen" in machine("paper", "bodies", put(machine, "b.csv", "id,name\nevil,Name\x1b[2J\n"), expect=10).err
    machine("paper", "bodies", put(machine, "b.csv", "id,name\nevil,<script>alert(1)</script>#eval(\"1\")\n"), expect=0)
    machine("paper", "order", "--body", "evil", "--order", "new", "--since", "2026-12-21T10:00+05:30", expect=0)
    folder = offline(machine).parent / "2"
    page = (folder / "order-1.en.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    pdf = subprocess.run(["pdftotext", folder / "order-1.en.pdf", "-"], capture_output=True, text=True, check=True).stdout
    assert "#eval(" in pdf.replace("\n", "")


def test_a_playbook_orders_work_on_paper(machine: Machine) -> None:
    book = put(machine, "p.yaml", """name: offline
title: {en: Offline, hi: कागज पर}
inputs: {incident: {type: string, help: its id}, since: {type: datetime, help: from when on}}
steps:
  - {id: order, phase: continuity, uses: paper_order, title: {en: Order it, hi: आदेश}, with: {incident: "${incident}", since: "${since}", services: [water], order: new}}
""")
    said = machine.json("run", book, "--set", "incident=inc-1", "--set", "since=2026-12-22T09:00:00+05:30")
    assert said.code == 0, said.err + json.dumps(said.errors)
    assert (offline(machine).parent / "2" / "order-1.hi.pdf").exists()
    Path(book).write_text(Path(book).read_text().replace(", order: new", ""))
    machine("run", book, "--set", "incident=inc-1", "--set", "since=2026-12-22T09:00:00+05:30", expect=0)
    assert not (offline(machine).parent / "2" / "order-2.hi.pdf").exists()  # it stands so already


def test_two_who_give_the_same_numbers_out_at_once_leave_them_with_one(machine: Machine) -> None:
    listed = [put(machine, f"r{number}.csv", f"body,series,first,last\n{body},{series},1,500\n")
              for number, (body, series) in enumerate((("indore", "IND-PT"), ("rewa", "REW")))]
    both = [machine.start("paper", "receipts", "--from", listed[0]), machine.start("paper", "receipts", "--from", listed[1])]
    assert [process.wait() for process in both] == [0, 0]
    again = [machine.start("paper", "receipts", "rewa", f"{first}-700") for first in (501, 600)]
    assert sorted(process.wait() for process in again) == [0, 23]
    assert len(machine.json("paper", "receipts").result["ranges"]) == 3
    machine("journal", "verify", expect=0)


def test_it_works_where_the_state_directory_cannot_be_used(machine: Machine) -> None:
    machine.forget()
    machine.state.write_text("no folder any more")
    opened = machine("--break-glass", *OPEN[:2], "inc-9", *OPEN[3:])
    spool = Path(re.findall(r"journal goes to (\S+)/journal/", opened.err)[0])
    try:
        said = machine("--break-glass", "paper", "order", "--since", "2026-12-21T10:00+05:30", expect=0)
        assert "order 1 of inc-9, version 1, is drafted" in said.out and (spool / "incidents" / "inc-9" / "offline" / "1" / "order-1.hi.pdf").exists()
        machine("--break-glass", "paper", "receipts", "rewa", "1-10", expect=0)
        assert machine.json("--break-glass", "paper", "receipts").result["ranges"][0]["body"] == "rewa"
    finally:
        shutil.rmtree(spool)
