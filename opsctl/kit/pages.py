"""The pages to print: what to do when the controller is gone, who is called, and the shares of a password."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsctl.protocols.cert_in import protocol

LANGUAGES = ("en", "hi")


@dataclass(frozen=True)
class Facts:
    """What is filled in. The rows of people, hosts and repositories have a cell for each column of the texts."""

    organisation: str
    made: str
    fingerprint: str
    people_fingerprint: str
    state: str
    backups: Sequence[str]
    repository: str
    source: str
    people: Sequence[Sequence[str]] = field(default_factory=tuple)
    hosts: Sequence[Sequence[str]] = field(default_factory=tuple)
    repositories: Sequence[Sequence[str]] = field(default_factory=tuple)


def write(folder: Path, facts: Facts) -> None:
    """Every page in every language, as HTML and as plain text. HTML is escaped: names come from the configuration."""
    import jinja2
    import yaml  # type: ignore[import-untyped]

    own = Path(__file__).parent
    texts = yaml.safe_load((own / "pages.yaml").read_text("utf-8"))
    made = {}
    for kind in ("html", "txt"):
        settings = jinja2.Environment(autoescape=kind == "html", trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        made[kind] = settings.from_string((own / f"page.{kind}").read_text("utf-8"))
    folder.mkdir()
    for language in LANGUAGES:
        text = texts[language]
        common = {"language": language, "words": text["words"], "organisation": facts.organisation, "made": facts.made,
                  "fingerprint": facts.fingerprint, "people": facts.people_fingerprint, "about": "", "steps": [], "never": "", "tables": []}
        for name, more in (("runbook", _runbook(text["runbook"], facts)), ("contacts", _contacts(text["contacts"], facts))):
            for kind, template in made.items():
                (folder / f"{name}.{language}.{kind}").write_text(template.render({**common, **more}), "utf-8")


def _runbook(text: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    known = {"repository": facts.repository, "fingerprint": facts.fingerprint, "state": facts.state, "source": facts.source,
             "backup": facts.backups[0] if facts.backups else "BACKUP", "backups": ", ".join(facts.backups)}

    def filled(line: str) -> str:
        for name, found in known.items():
            line = line.replace(f"{{{name}}}", found)
        return line

    steps = [{"say": filled(step["say"]), "run": [filled(line) for line in step["run"]]} for step in text["steps"]]
    return {"title": text["title"], "about": text["about"], "steps": steps, "never": text["never"]}


def _contacts(text: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    tables = [{"title": text["people"], "columns": text["columns"], "rows": facts.people},
              {"title": text["certin"], "columns": ["", "", ""], "rows": [_cert_in()]},
              {"title": text["hosts"], "columns": text["host_columns"], "rows": facts.hosts},
              {"title": text["repositories"], "columns": text["repository_columns"], "rows": facts.repositories}]
    return {"title": text["title"], "tables": [table for table in tables if table["rows"]]}


def _cert_in() -> Sequence[str]:
    """How CERT-In is reached, as the protocol has it."""
    found = protocol().contacts["cert-in"]
    return found["incident_email"], found["phone_toll_free"], f"fax {found['fax_toll_free']}"


def share_page(*, head: str, hindi: str, columns: str, picture: str) -> str:
    """The page of one share of a password; ``picture`` is its QR code, as SVG."""
    import jinja2
    from markupsafe import Markup

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "share.html").read_text("utf-8"))
    return template.render(head=head, hindi=hindi, columns=columns, picture=Markup(picture)) + "\n"
