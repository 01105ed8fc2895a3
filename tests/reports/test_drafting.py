"""What stands in drafts: every field, what is known, where each label and figure has its source, and nothing that holds one up."""

from __future__ import annotations

import builtins
import email
import email.policy
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from opsctl.errors import UsageError
from opsctl.model.clocks import clocks
from opsctl.model.incident import COLLECTED, SEALED, Incident, Met, Notice, Record, Statement
from opsctl.protocols.cert_in import protocol
from opsctl.protocols.report_fields import fillable, report_fields
from opsctl.reports import typeset
from opsctl.reports.document import Deed, Facts, Reporter
from opsctl.reports.drafting import Draft, document, draft
from opsctl.reports.kinds import KINDS
from opsctl.reports.page import FOLDER
from opsctl.reports.words import Words

IST = ZoneInfo("Asia/Kolkata")
NOTICED = datetime(2026, 12, 20, 21, 0, tzinfo=UTC)
NOW = NOTICED + timedelta(minutes=30)
HOSTILE = "<script>alert(1)</script> \x1b[31m #read(\"/etc/passwd\") =cmd|'/C calc'!A0"


def incident(**more: Any) -> Incident:
    anchors = {"noticed_at": NOTICED, "became_aware_at": NOTICED, "money_moved_at": NOTICED, "incident_closed_at": NOTICED}
    base = Incident("inc-x", "Portal encrypted", NOW, "root", (Notice(NOTICED, "night operator", "files renamed", NOW),), ("malicious-code",), ("portal",),
                    "Asha", anchors)
    return replace(base, **more)


def facts(found: Incident | None = None, *, now: datetime = NOW, **more: Any) -> Facts:
    found = found or incident()
    base = Facts(found, clocks(found, protocol().duties, now), Reporter("Asha", "Urban"), "Asha", {}, (), (), now, {})
    return replace(base, **more)


def drafted(report: str, given: Facts | None = None, languages: tuple[str, ...] = ("en",), **more: Any) -> Draft:
    return draft(report, given or facts(), IST, languages, **more)


def values(found: Draft) -> dict[str, str | None]:
    return {one["key"]: one["value"] for one in found.json["fields"]}


def texts(found: Any) -> Iterator[str]:
    """Every text of the protocol's data."""
    if isinstance(found, Mapping):
        for key, one in found.items():
            yield str(key)
            yield from texts(one)
    elif isinstance(found, list):
        for one in found:
            yield from texts(one)
    else:
        yield str(found)


def normal(text: str) -> str:
    return " ".join(text.split()).casefold()


@pytest.mark.parametrize("report", KINDS)
def test_every_field_of_a_report_is_in_it_and_what_is_unknown_says_so(report: str) -> None:
    found = drafted(report)
    keys = [one["key"] for one in found.json["fields"]]
    if report != "supplementary":  # of the form it has only what is new
        assert [field.key for part in KINDS[report].parts for field in report_fields()[part] if field.key not in keys] == []
    unknown = [one["label"] for one in found.json["fields"] if one["value"] is None]
    assert unknown
    assert all(f"{label}: not yet known" in found.text for label in unknown)
    assert {name.rpartition(".")[2] for name in found.files} == {"txt", "html", "pdf", "json", "eml"}


@pytest.mark.parametrize("report", KINDS)
@pytest.mark.parametrize("language", ["en", "hi"])
def test_every_label_and_every_figure_shown_has_its_source_in_the_protocol(report: str, language: str) -> None:
    known = " ".join(normal(one) for one in texts(protocol().raw))
    made = document(report, facts(), Words(language, IST))
    sources = protocol().sources
    for row in made.rows:
        assert normal(row.label) in known, f"{row.label} stands nowhere in the protocol"
        assert set(re.findall(r"\bS\d+\b", row.source)) <= set(sources) and re.search(r"\bS\d+\b", row.source), row
    mine = {"inc-x", made.head[2][1]}
    shown = "\n".join([*(text for _, text in (*made.head, *made.notes)), *(row.value or "" for row in made.rows)])
    for one in mine:
        shown = shown.replace(one, "")
    stamp = r"\d\d/\d\d/\d{4} \d\d:\d\d IST \(UTC\+05:30\)"
    shown = re.sub(stamp, "", shown)
    in_force = {f"{date:%d/%m/%Y}" for one in protocol().duties.values() if (date := one.in_force_from)}
    for figure in re.findall(r"\d\d/\d\d/\d{4}", shown):
        assert figure in in_force
    shown = re.sub(r"\d\d/\d\d/\d{4}", "", shown)
    for figure in re.findall(r"[\w.+-]+@[\w.-]+|https?://\S+|[\d][\d-]{3,}\d|\d+ (?:hours|days)|s\.\d+\w*", shown):
        assert normal(figure) in known, f"{figure} stands nowhere in the protocol"


def test_words_of_our_own_hold_no_fact() -> None:
    raw = (FOLDER / "words.yaml").read_text()
    body = "\n".join(line for line in raw.splitlines() if not line.startswith("#"))
    assert re.findall(r"@|https?:|\d+", body.replace("SHA-256", "").replace("sha256", "")) == []


def test_every_label_and_word_is_there_in_hindi() -> None:
    said = yaml.safe_load((FOLDER / "words.yaml").read_text())
    assert set(fillable()) <= set(said["labels"])
    for group in ("say", "titles", "sections", "columns", "choices"):
        for name, one in said[group].items():
            assert set(one) == {"en", "hi"}, name
    for name, one in said["say"].items():
        assert set(re.findall(r"\{\w+\}", one["en"])) == set(re.findall(r"\{\w+\}", one["hi"])), name


def test_the_official_label_stands_beside_the_hindi_one() -> None:
    said = drafted("cert-in", languages=("hi",)).text
    assert " 1. मैं हूँ (I am): प्रभावित संस्था" in said and "Operating System): अभी ज्ञात नहीं" in said


@pytest.mark.parametrize("report", ["dpdp-board", "dpdp-person"])
def test_what_is_not_in_force_says_from_when(report: str) -> None:
    assert "in force: from 13/05/2027, not before" in drafted(report).text


def test_filled_in_values_stand_before_what_opsctl_knows() -> None:
    found = values(drafted("cert-in", facts(incident(fields={"description": "in our words", "operating_system": "Debian 12"}))))
    assert found["description"] == "in our words" and found["operating_system"] == "Debian 12"


def test_a_type_that_the_form_does_not_know_is_doubted_and_said_as_other() -> None:
    found = drafted("cert-in", facts(incident(types=("malicious-cod",))))
    assert values(found)["incident_type_other"] == "malicious-cod"
    assert "Incident Type: the form does not know malicious-cod; did you mean malicious-code?" in found.doubts


@pytest.mark.parametrize(("key", "good", "bad", "why"), [
    ("occurred_at", "20/12/2026 23:00 IST", "20/12/2026 23:00", "has no time zone"),
    ("occurred_at", "2026-12-20T23:00+05:30", "last night", "the form asks for dd/mm/yyyy hh:mm"),
    ("reporter_email", "asha@example.invalid", "asha at example", "is no e-mail address"),
    ("ip_address", "10.0.0.5 (db-1), fd00::7; 10.1.0.0/16", "10.0.0.5, 10.0.0.256", "10.0.0.256 is no address"),
    ("mission_critical", "Yes", "ys", "did you mean yes"),
])
def test_a_value_that_looks_wrong_is_doubted_and_stays(key: str, good: str, bad: str, why: str) -> None:
    assert drafted("cert-in", facts(incident(fields={key: good}))).doubts == ()
    found = drafted("cert-in", facts(incident(fields={key: bad})))
    (said,) = found.doubts
    assert why in said and values(found)[key] == bad


def test_what_opsctl_fills_in_itself_is_never_doubted() -> None:
    given = facts(hosts={"db-1": "10.0.0.11", "v6": "fd00::11"})
    assert [drafted(report, given).doubts for report in KINDS] == [()] * len(KINDS)


def test_a_missed_duty_goes_into_the_report_with_its_reason() -> None:
    late = facts(now=NOTICED + timedelta(hours=7))
    said = drafted("cert-in", late).text
    assert "late: was due 21/12/2026 08:30 IST (UTC+05:30); the reason is not yet written down" in said
    told = facts(incident(reasons={"certin-initial-report": "no telephone worked (Asha)"}), now=NOTICED + timedelta(hours=7))
    said = drafted("cert-in", told).text
    assert "late: was due 21/12/2026 08:30 IST (UTC+05:30); no telephone worked (Asha)" in said
    assert "First report of an Annexure I incident to CERT-In was late: no telephone worked (Asha)" in values(drafted("police", told))["chronology"]  # type: ignore[operator]
    assert ["First report of an Annexure I incident to CERT-In (certin-initial-report)", "overdue", "21/12/2026 08:30 IST (UTC+05:30)", "", "no telephone worked (Asha)"] \
        in drafted("closing", told).json["tables"]["duties"]["rows"]


def test_what_was_done_is_told_from_the_journal_and_nothing_unproven_is_called_cut_off() -> None:
    at = NOTICED + timedelta(minutes=10)
    deeds = (Deed(at, "isolate", "r1", "isolate", "db-1", "changed", "isolated", {"stand": {"standing": "isolated"}}),
             Deed(at, "isolate", "r1", "isolate", "app-1", "failed", "no answer", {}),
             Deed(at, "isolate", "r1", "isolate", "web-1", "ok", "nothing to do", {"stand": {"standing": "open"}}),
             Deed(at, "promote", "r2", "promote", "", "changed", "promoted", {"backup": "portal", "source": "portal-db", "set": "20261217-2100-portal-1a2b"}))
    given = facts(deeds=deeds)
    seen = values(drafted("nic-cert", given))["cut_off"] or ""
    assert "db-1 cut off and probed" in seen and "app-1 NOT cut off: no answer" in seen and "web-1" not in seen
    assert values(drafted("supplementary", given))["actions_taken"] == "disconnected_from_network, restored_with_good_backup"
    closing = drafted("closing", given)
    assert values(closing)["data_loss_window"] == \
        "portal-db: from 18/12/2026 02:30 IST (UTC+05:30) to 21/12/2026 02:30 IST (UTC+05:30) at most, by what is known now"
    assert closing.json["tables"]["restoration"]["rows"][0][1:] == ["portal-db (promote)", "20261217-2100-portal-1a2b", "18/12/2026 02:30 IST (UTC+05:30)", "changed"]
    assert values(drafted("closing"))["data_loss_window"] is None


def test_evidence_and_references_stand_in_the_complaint() -> None:
    digest = "ab" * 32
    found = incident(
        records={COLLECTED: (Record(NOW, {"host": "db-1", "bag": "evidence/db-1"}),),
                 SEALED: (Record(NOW, {"bag": "evidence/db-1", "manifest_sha256": digest}),)},
        met=(Met("certin-initial-report", NOW, NOW, "Asha", "email", "CERTIn-77"),))
    said = values(drafted("police", facts(found)))
    assert said["evidence"] == f"db-1: evidence/db-1, manifest SHA-256 {digest}" and said["certin_reference"] == "CERTIn-77"
    assert said["transaction_time"] == "21/12/2026 02:30 IST (UTC+05:30)"


def test_a_supplement_has_what_the_report_that_was_sent_left_blank() -> None:
    first = drafted("cert-in").json
    known = facts(incident(fields={"operating_system": "Debian 12", "root_cause": "stolen password"}), sent={"cert-in": first})
    found = drafted("supplementary", known)
    new = [one["key"] for one in found.json["fields"] if one["section"] == "now_known"]
    assert new == ["operating_system"]
    assert "Operating System" in (values(found)["blank_earlier"] or "") and values(found)["root_cause"] == "stolen password"


def test_a_duty_that_is_coming_or_at_once_has_no_made_up_deadline() -> None:
    due = {row[0].rpartition("(")[2].rstrip(")"): row[2] for row in drafted("closing").json["tables"]["duties"]["rows"]}
    assert due["dpdp-board-detailed"] == "from 13/05/2027, not before" and due["police-helpline-1930"] == "at once"
    assert due["police-complaint"] == "no time is fixed" and due["lessons-learned"] == "04/01/2027 02:30 IST (UTC+05:30)"


def test_a_statement_is_its_authors() -> None:
    said = Statement("leak", "nothing points to one until now", "proxy logs", "Asha", NOW)
    assert "Asha states on leak, 21/12/2026 03:00 IST (UTC+05:30): nothing points to one until now (basis: proxy logs)" \
        in (values(drafted("cert-in", facts(incident(statements=(said,)))))["description"] or "")


def test_what_changed_since_the_draft_before_is_named_whatever_its_language() -> None:
    first = drafted("cert-in", languages=("hi",)).json
    same = drafted("cert-in", number=2, before=first)
    assert same.changed == ()
    assert drafted("cert-in", facts(incident(fields={"operating_system": "x"})), before=first).changed == ("Operating System",)


def test_a_long_timeline_is_brief_in_the_form_and_whole_in_the_closing_report() -> None:
    from opsctl.model.incident import Event

    events = tuple(Event(NOW, f"step {number}", "Asha", number, "incident.noted") for number in range(100))
    given = facts(incident(timeline=events))
    brief = values(drafted("cert-in", given))["description"] or ""
    assert "step 99" in brief and "step 10:" not in brief and "… and 75 earlier entries" in brief
    assert len(drafted("closing", given).json["tables"]["timeline"]["rows"]) == 100


@pytest.mark.parametrize("language", ["en", "hi"])
def test_the_pdf_has_all_fields_of_the_form(tmp_path: Path, language: str) -> None:
    pdf = drafted("cert-in", languages=(language,)).files[f"cert-in-1.{language}.pdf"]
    (tmp_path / "made.pdf").write_bytes(pdf)
    text = subprocess.run(["pdftotext", str(tmp_path / "made.pdf"), "-"], capture_output=True, check=True).stdout.decode()
    said = re.sub(r"\s", "", text)
    words = Words(language, IST)
    for field in protocol().fields:
        assert re.sub(r"\s", "", field.label) in said
        assert language == "en" or re.sub(r"\s", "", str(words.hindi(field.key))) in said


def test_hostile_text_stays_text_in_every_format(tmp_path: Path) -> None:
    given = facts(incident(title=HOSTILE, fields={"operating_system": HOSTILE}), hosts={HOSTILE: "10.0.0.1"})
    for report in ("cert-in", "closing"):
        found = drafted(report, given)
        assert "\x1b" not in found.text and "\\x1b[31m" in found.text
        assert b"<script" not in found.files[f"{report}-1.en.html"] and b"\x1b" not in found.files[f"{report}-1.en.html"]
        (tmp_path / "made.pdf").write_bytes(found.files[f"{report}-1.en.pdf"])
        pdf = subprocess.run(["pdftotext", str(tmp_path / "made.pdf"), "-"], capture_output=True, check=True).stdout.decode()
        assert "root:" not in pdf and '#read("/etc/passwd")' in " ".join(pdf.split()) and "<script>alert(1)</script>" in " ".join(pdf.split())
        message = email.message_from_bytes(found.files[f"{report}-1.eml"], policy=email.policy.default)
        assert "\x1b" not in str(message["Subject"])
        json.loads(found.files[f"{report}-1.json"])


def test_the_message_goes_to_the_protocols_address_with_the_pdfs() -> None:
    found = drafted("cert-in", languages=("en", "hi"))
    message = email.message_from_bytes(found.files["cert-in-1.eml"], policy=email.policy.default)
    assert message["To"] == protocol().contacts["cert-in"]["incident_email"]
    attached = {one.get_filename(): one.get_content() for one in message.iter_attachments()}
    assert attached == {name: content for name, content in found.files.items() if name.endswith(".pdf")} and len(attached) == 2
    police = email.message_from_bytes(drafted("police").files["police-1.eml"], policy=email.policy.default)
    assert police["To"] is None


def test_an_address_that_is_not_sure_is_told_first() -> None:
    assert ("check first", "incident@nic-cert.nic.in: unverified") in drafted("nic-cert").notes


def test_a_drill_says_so_everywhere_and_is_addressed_to_nobody_real() -> None:
    found = drafted("cert-in", facts(incident(drill=True)), ("en", "hi"))
    message = email.message_from_bytes(found.files["cert-in-1.eml"], policy=email.policy.default)
    assert str(message["To"]).endswith(".invalid") and str(message["Subject"]).startswith("DRILL")
    assert found.text.startswith("DRILL") and found.json["drill"] is True and found.json["to"].endswith(".invalid")
    (by,) = [text for name, text in found.notes if name == "by"]
    assert by.startswith("this is a drill, send it to nobody; in earnest: e-mail incident@cert-in.org.in")
    for name in ("cert-in-1.en.html", "cert-in-1.hi.html"):
        assert b"DRILL: this is an exercise" in found.files[name]


def test_without_typst_everything_else_comes_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "typst":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    found = drafted("cert-in", languages=("en", "hi"))
    assert [one.message for one in found.problems] == ["there is no PDF: the Python package typst is not installed"]
    assert {name.rpartition(".")[2] for name in found.files} == {"txt", "html", "json", "eml"}


@pytest.mark.parametrize(("note", "said"), [("A" * 60_000, "typst is not done with the PDF of report.typ after"), ("क" + "्" * 5000 + "ि" * 5000, "typst made no PDF")])
def test_promise_8_no_text_that_typst_takes_hours_or_dies_of_holds_a_draft_up(note: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeset, "LIMIT", 1.0)
    found = drafted("cert-in", facts(incident(title=note)))
    assert next(iter(found.problems)).message.startswith(said)
    assert note in found.text and {name.rpartition(".")[2] for name in found.files} == {"txt", "html", "json", "eml"}


def test_a_report_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean police"):
        drafted("polise")
