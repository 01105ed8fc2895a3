"""The demo's incident, from the first notice to the closing: two playbooks, and what people do for their steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Tone
from opsctl.demo.staged import PEOPLE
from opsctl.errors import ProgramFailed

if TYPE_CHECKING:
    from opsctl.demo.lab import Lab

_MINUTES = timedelta(minutes=1)
WAVES = ("internal", "pilot", "all-bodies", "public")
_CONFIGURATION = """\
# DRILL: bodies that go on working on paper, and no more than seconds for evidence: all hosts of the lab have this machine's files.
evidence: {limit: 8s}
bodies:
  sagar:   {name: DRILL Sagar, name_hi: "अभ्यास सागर", series: [SGR]}
  vidisha: {name: DRILL Vidisha, name_hi: "अभ्यास विदिशा", series: [VDS]}
paper:
  services:
    property-tax: {name: Property tax, name_hi: संपत्ति कर}
    water:        {name: Water connections, name_hi: जल कनेक्शन}
  signatory: DRILL Commissioner
"""
_RECEIPTS = """\
series,number,date,service,payer,account,amount
SGR,1,21/12/2026,property-tax,DRILL Citizen A,SGR-000001,"1,23,456.50"
SGR,2,22/12/2026,water,DRILL Citizen B,SGR-000002,450.00
SGR,3,22/12/2026,property-tax,DRILL Citizen C,SGR-000003,980.00
"""
_RESUME = re.compile(r"opsctl resume (\d{8}-\d{4}-[\w-]+)")
_WAITS = re.compile(r"`opsctl (?:approve|done) (\S+) (\S+) --by")


@dataclass
class Incident:
    """One incident of the lab. ``at`` is the moment that its next command is told; ``inside`` starts it on the team's machine."""

    lab: Lab
    config: Path
    at: datetime
    inside: Sequence[str] = ()
    id: str = ""
    runs: dict[str, str] = field(default_factory=dict)

    def opsctl(self, *words: str, expect: Sequence[int] = (0,), show: int = 4, minutes: int = 2) -> str:
        """One command, some minutes after the one before; what it said on both ways out."""
        self.at += minutes * _MINUTES
        done = self.lab.opsctl(*words, at=self.at, config=self.config, inside=self.inside, expect=expect, show=show)
        return done.stdout + done.stderr

    def later(self, *, days: int) -> None:
        self.at += timedelta(days=days)
        self.lab.say(f"  {self.at:%d %B, %H:%M} IST.")

    def begin(self, playbook: str, *inputs: str, show: int) -> None:
        """Start a playbook; it goes as far as it can without people, and says what it waits for."""
        said = self.opsctl("run", playbook, *(word for one in inputs for word in ("--set", one)), expect=(4,), show=show)
        self.runs[playbook] = _found(_RESUME.pattern, said)
        self.id = self.id or _found(r"\b(inc-\d{8}-[0-9a-f]{4})\b", said)

    def go_on(self, playbook: str, *, expect: Sequence[int] = (4,), show: int = 6) -> str:
        return self.opsctl("resume", self.runs[playbook], expect=expect, show=show)

    def done(self, playbook: str, step: str, note: str) -> None:
        """A person says with their signature that a step is done."""
        self.opsctl("done", self.runs[playbook], step, "--by", PEOPLE[0], *self._key(PEOPLE[0]), "--note", f"DRILL: {note}", show=1)

    def approve(self, run: str, step: str) -> None:
        """Two sign what the step is about to do."""
        for name in PEOPLE:
            self.opsctl("--yes", "approve", run, step, "--by", name, *self._key(name), "--note", "DRILL: seen", show=2)

    def to_the_end(self, *words: str, show: int = 6) -> None:
        """A run that waits for two people, or for a watch to be over: started, approved, gone on with."""
        said = self.opsctl(*words, expect=(0, 4), show=show)
        while (runs := _RESUME.findall(said)) or _WAITS.search(said):
            waits = dict.fromkeys(_WAITS.findall(said))
            for run, step in waits:
                self.approve(run, step)
            said = self.opsctl("resume", next(iter(waits), runs)[0], expect=(0, 4), show=show)

    def paper(self, kind: str) -> None:
        """A document that somebody brought, taken in with its hash."""
        file = self.lab.root / f"{kind}.txt"
        file.write_text(f"DRILL: the {kind} of an exercise, which is none\n")
        self.opsctl("incident", "paper", self.id, kind, str(file), "--by", PEOPLE[0], show=1)

    def _key(self, name: str) -> tuple[str, str]:
        return "--key", str(self.lab.root / "people" / name)


def configure(config: Path) -> None:
    """The third file of the demo's configuration."""
    (config / "paper.yaml").write_text(_CONFIGURATION)


def first_hours(incident: Incident, noticed: datetime) -> None:
    """Everything that is no separate system goes off the network in one command; the report is drafted, sent, and on record."""
    incident.begin("precautionary-shutdown", "zones=portal", f"noticed_at={noticed.isoformat()}", "noticed_by=DRILL night operator",
                   "signal=scans that cannot be opened, and a notice of a suspect set", f"in_charge={PEOPLE[0]}", "nature=drill", show=40)
    # Cut off already, so that it only looks once more: what the probes show stands in a table.
    incident.opsctl("isolate", "apply", "--zone", "portal", "--incident", incident.id, show=12, minutes=1)
    incident.opsctl("incident", "show", incident.id, show=14)
    incident.opsctl("report", "draft", "cert-in", "--incident", incident.id, show=12)
    incident.opsctl("report", "sent", "nic-cert", "--incident", incident.id, "--channel", "phone", "--by", PEOPLE[0], show=1)
    incident.opsctl("report", "sent", "cert-in", "--incident", incident.id, "--channel", "email", "--by", PEOPLE[0], "--reference", "DRILL-1", show=2)
    incident.opsctl("report", "sent", "police", "--incident", incident.id, "--channel", "portal", "--by", PEOPLE[1], "--reference", "DRILL-2", show=2)
    incident.opsctl("evidence", "list", "--incident", incident.id, show=8)
    incident.opsctl("evidence", "verify", "--incident", incident.id, expect=(0, 3), show=6)  # 3: a collecting that was killed left half a bag
    incident.lab.facts["incident"] = incident.id


def counters(incident: Incident) -> None:
    """The counters work on paper, with numbers that somebody gave out."""
    incident.opsctl("paper", "order", "--since", incident.at.isoformat(), "--number", "DRILL/1", "--incident", incident.id, show=6)
    for body, series in (("sagar", "SGR"), ("vidisha", "VDS")):
        incident.opsctl("paper", "receipts", body, series, "1-50", "--incident", incident.id, show=2)
    incident.done("precautionary-shutdown", "paper", "the counters were told by telephone")


def investigate(incident: Incident, first_bad: datetime) -> None:
    """What was found makes it ransomware: the playbook for that goes on with the same incident."""
    incident.opsctl("incident", "note", incident.id, f"DRILL: the first scan turned to noise about {first_bad.isoformat()}", show=1)
    incident.opsctl("incident", "state", incident.id, "leak", "--says", "nothing points to a leak until now", "--basis", "DRILL: logs of the firewall",
                    "--by", PEOPLE[0], show=1)
    incident.begin("ransomware", f"incident={incident.id}", "zone=portal", f"noticed_at={first_bad.isoformat()}", "noticed_by=DRILL night operator",
                   "signal=encrypted scans", f"in_charge={PEOPLE[0]}", "nature=drill", show=30)
    for playbook in incident.runs:
        for step, note in (("images", "images of both hosts are in the safe"), ("personal-data", "stated"), ("investigate", "the way in is known"),
                           ("paper", "the counters were told by telephone")):
            if (playbook, step) != ("precautionary-shutdown", "paper"):
                incident.done(playbook, step, note)
        incident.go_on(playbook)
        incident.done(playbook, "clean", "passwords and keys are new")


def back(incident: Incident, first_bad: datetime) -> None:
    """The clean set chosen by two, proven in a clean room, and the portal back in stages; all of it on this machine.

    An ordinary user's lab network knows one user alone: nothing could be restored there that a folder of root's leads to.
    """
    network, incident.inside = incident.inside, ()
    incident.later(days=1)
    said = incident.opsctl("restore", "points", "portal", "--before", first_bad.isoformat(), show=14)
    clean = _found(r"newest clean.*?(\d{8}-\d{4}-[0-9a-f]{4})", said)
    incident.to_the_end("restore", "choose", "portal", clean)
    incident.opsctl("verify", "portal", "--level", "drill", "--set", clean, show=8)
    incident.done("ransomware", "rebuild", "both hosts are new, from trusted media")
    incident.opsctl("restore", "plan", "--before", first_bad.isoformat(), show=30)
    incident.to_the_end("restore", "run", "--before", first_bad.isoformat(), show=30)
    incident.inside = network


def reopen(incident: Incident) -> None:
    """The auditor's word and the data centre's, two approvals, people in waves, and nothing cut off any more."""
    incident.later(days=6)
    for kind in ("auditor-certificate", "data-centre-acceptance"):
        incident.paper(kind)
    for playbook in incident.runs:
        incident.go_on(playbook)
        incident.approve(incident.runs[playbook], "agree")
        incident.go_on(playbook)
    for wave in WAVES:
        incident.to_the_end("restore", "reopen", wave, "--incident", incident.id, show=4)
    incident.lab.facts["public_open"] = (incident.lab.root / "public-open").exists()
    incident.to_the_end("isolate", "release", "--zone", "portal", "--incident", incident.id)


def close(incident: Incident) -> None:
    """Receipts entered and reconciled, the last reports, and an end that says itself what is still open."""
    lab = incident.lab
    incident.later(days=1)
    typed = lab.root / "receipts.csv"
    typed.write_text(_RECEIPTS)
    incident.opsctl("paper", "import", str(typed), "--body", "sagar", "--incident", incident.id, show=4)
    incident.opsctl("paper", "reconcile", "--incident", incident.id, expect=(3,), show=12)
    incident.opsctl("paper", "reconcile", "--settle", "rest", "--settle", "unknown", "--note", "DRILL: the other numbers were not used", "--done",
                    "--incident", incident.id, show=6)
    for report in ("supplementary", "closing"):
        incident.opsctl("report", "draft", report, "--incident", incident.id, show=4)
    incident.opsctl("report", "sent", "supplementary", "--incident", incident.id, "--channel", "email", "--by", PEOPLE[0], show=1)
    incident.paper("review")
    for playbook in incident.runs:
        incident.done(playbook, "reconcile", "balances agreed")
        incident.go_on(playbook)
    incident.opsctl("incident", "close", incident.id, "--note", "DRILL: every service is proven, every duty is met", show=4)
    for playbook in incident.runs:
        incident.go_on(playbook, expect=(0,))
    incident.opsctl("journal", "verify", show=6)
    lab.facts["closed"] = True
    lab.say("  From the first notice to the last signature it is on record, and the record verifies.", Tone.GOOD)


def _found(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    if found is None:
        raise ProgramFailed(f"the demo looks for {pattern} and does not find it", hint=said[-600:])
    return found[1]
