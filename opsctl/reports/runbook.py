"""A playbook as a runbook for the wall: its steps by phase, what people do at each, and the command that says so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opsctl.model.playbook import Playbook, Step
from opsctl.protocols.cert_in import protocol
from opsctl.reports.kinds import KINDS
from opsctl.reports.page import page
from opsctl.reports.typeset import pdf

_BY_PEOPLE = {
    "person": "opsctl done RUN {id} --by NAME --note WHAT", "approve": "opsctl approve RUN {id} --by NAME",
    "document": "opsctl incident paper INCIDENT {kind} FILE", "other_run": "", "met": "opsctl incident met INCIDENT {duty} --channel HOW --by WHO",
}
_SENT = "opsctl report sent {duty} --incident INCIDENT --channel HOW --by WHO"
_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {"asked": "What you are asked", "input": "input", "meaning": "what it means", "person": "people", "machine": "opsctl", "steps": "Steps",
           "now": "at once", "after": "after: ", "always": ", whatever happens", "for": "Answers: ", "runbook": "runbook",
           "go_on": "What people have done is said by the command below each step; then opsctl resume RUN goes on."},
    "hi": {"asked": "आपसे क्या पूछा जाएगा", "input": "इनपुट", "meaning": "अर्थ", "person": "लोग", "machine": "opsctl", "steps": "चरण",
           "now": "तुरंत", "after": "इनके बाद: ", "always": ", चाहे जो हो", "for": "इनका उत्तर: ", "runbook": "कार्यपुस्तिका",
           "go_on": "लोगों ने जो किया वह हर चरण के नीचे की कमांड से बताया जाता है; फिर opsctl resume RUN आगे बढ़ता है।"},
}
_PHASES = {
    "declare": "जानना और घोषित करना", "isolate": "अलग करना", "preserve": "साक्ष्य सुरक्षित रखना", "report": "रिपोर्ट करना", "continuity": "सेवाएँ काग़ज़ पर चलाना",
    "investigate": "जाँचना और कारण हटाना", "verify-backup": "उपयोग से पहले बैकअप जाँचना", "restore": "चरणों में वापस लाना", "clear": "ऑडिट और अनुमति",
    "reopen": "लहरों में खोलना", "reconcile": "काग़ज़ी काम दर्ज कर मिलान करना", "close": "बंद करना और सीखना", "prepare": "तैयारी",
}
"""Titles of the protocol's phases in Hindi; the English ones stand in its data."""


def as_html(playbook: Playbook, language: str) -> bytes:
    """One page that needs nothing from elsewhere."""
    found = _data(playbook, language)
    return page("runbook.html", title=found.pop("title"), language=language, drill=False, **found)


def as_pdf(playbook: Playbook, language: str, at: datetime) -> bytes:
    """The same on A4. Partial where typst or letters are missing."""
    found = _data(playbook, language)
    return pdf("runbook.typ", found, title=found["title"], language=language, drill=False, at=at)


def _data(playbook: Playbook, language: str) -> dict[str, Any]:
    words = _WORDS[language]
    types = protocol().types
    needed = " ".join(f"--set {name}=…" for name, one in playbook.inputs.items() if one.required)
    answered = [types[one].summary if language == "en" else one for one in playbook.incident_types if one in types]
    about = [f"{words['for']}{'; '.join(answered)}"] if answered else []
    return {
        "title": playbook.title.text(language), "about": "\n".join([*about, words["go_on"]]), "command": f"opsctl run {playbook.name} {needed}".strip(),
        "words": dict(words), "also_language": "en" if language == "hi" else "hi",
        "inputs": [{"name": name, "help": one.help} for name, one in playbook.inputs.items() if one.required],
        "phases": list(_phases(playbook, language)),
    }


def _phases(playbook: Playbook, language: str) -> list[dict[str, Any]]:
    """The steps under their phases, these in the order in which the playbook first comes to each."""
    titles = {str(one["id"]): _PHASES.get(str(one["id"]), "") if language == "hi" else str(one["title"]) for one in protocol().phases}
    phases: dict[str | None, dict[str, Any]] = {}
    for number, step in enumerate(playbook.steps, 1):
        phase = phases.setdefault(step.phase, {"title": titles.get(step.phase or "", "") or step.phase or _WORDS[language]["steps"], "steps": []})
        phase["steps"].append(_step(playbook, step, number, language))
    return list(phases.values())


def _step(playbook: Playbook, step: Step, number: int, language: str) -> dict[str, Any]:
    words = _WORDS[language]
    say = step.with_.get("say", "")
    texts = say if isinstance(say, dict) else {"en": str(say)}
    told = str(texts.get(language) or texts["en"])
    other = str(texts.get("en" if language == "hi" else "hi") or "")
    after = playbook.graph[step.id]
    duty = str(step.duty or step.with_.get("duty", ""))
    form = _SENT if step.uses == "met" and any(duty in kind.duties for kind in KINDS.values()) else _BY_PEOPLE.get(step.uses, "")
    how = form.format(id=step.id, kind=step.with_.get("kind", ""), duty=duty)
    return {
        "number": number, "id": step.id, "title": step.title.text(language) if step.title else step.id, "person": step.uses in _BY_PEOPLE,
        "say": _plain(told), "also": _plain(other) if other != told else "", "how": how,
        "when": (words["after"] + ", ".join(after) if after else words["now"]) + (words["always"] if step.always else ""), "duty": step.duty or "",
    }


def _plain(text: str) -> str:
    """An instruction as it is printed: an incident that there is not yet is called so."""
    return text.replace("${incident}", "INCIDENT").replace("${title}: ", "").replace("${", "").replace("}", "")
