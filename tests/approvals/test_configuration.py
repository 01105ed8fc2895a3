"""What people approve is bound to the parts of the configuration that it uses: whoever changes one of them has approved nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.config import Config
from opsctl.model.config_used import changed, used
from tests.actions.test_promote import OLD
from tests.actions.test_promote_command import GOOD, approve, backed_up
from tests.machine import Machine, tree

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()
CONFIG: dict[str, Any] = {
    "state": "/s",
    "people": {"asha": {"name": "Asha", "roles": ["restore-officer"], "phone": "+911100000001"}},
    "hosts": {"app": {"address": "10.0.0.1", "host_key": KEY, "isolation": "nftables"}, "other": {"address": "10.0.0.2", "host_key": KEY}},
    "repositories": {"main": {"url": "/r", "password_file": "/p"}},
    "sources": {"db": {"kind": "command", "argv": ["d"], "promotion": {"promoted": ["a", "${set}"], "promote": ["b", "${set}", "${folder}"], "rollback": ["c", "${set}"]}},
                "up": {"kind": "paths", "paths": ["/srv/up"]}},
    "backups": {"portal": {"sources": ["db", "up"], "repository": "main", "every": "3d"}},
    "services": {"data": {"restores": ["db"]}, "tax": {"needs": ["data"], "on": "app", "unit": "tax.service", "rto": "3h"}, "mail": {"unit": "mail.service"}},
    "reopening": {"public": {"open": ["o"], "is_open": ["i"], "close": ["c"]}},
}
#: What a stage of `data` and a wave do behind their gates.
STEPS = ({"backup": "portal", "set": "x", "source": "db", "service": "data"}, {"services": ["data"]}, {"wave": "public", "host": "public"})


@pytest.mark.parametrize(("path", "value", "part"), [
    ("sources.db.promotion.promote", ["evil", "${set}", "${folder}"], "sources.db"),
    ("services.data.into", {"db": "elsewhere"}, "services.data"),
    ("services.tax.unit", "evil.service", "services.tax"),
    ("hosts.app.address", "10.0.0.9", "hosts.app"),
    ("repositories.main.url", "/evil", "repositories.main"),
    ("reopening.public.open", ["evil"], "reopening.public"),
    ("people.asha.roles", ["restore-officer", "auditor"], None),
    ("services.new", {"needs": ["data"], "unit": "n.service"}, "services.new"),
    ("services.tax.rto", "4h", None),
    ("services.mail.unit", "other.service", None),
    ("hosts.other.address", "10.0.0.8", None),
    ("sources.up.paths", ["/srv/other"], None),
    ("backups.portal.every", "1d", None),
])
def test_a_part_that_is_used_and_no_other_is_told_when_it_changes(path: str, value: Any, part: str | None) -> None:
    bound = used(STEPS, Config.model_validate(CONFIG))
    assert changed(bound, STEPS, Config.model_validate(CONFIG)) == []
    assert changed(bound, STEPS, _with(path.split("."), value, CONFIG)) == ([part] if part else [])


def _with(path: list[str], value: Any, config: dict[str, Any]) -> Config:
    def put(found: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        return {**found, keys[0]: put(found.get(keys[0], {}), keys[1:]) if keys[1:] else value}

    return Config.model_validate(put(config, path))


def test_promise_9_what_changed_between_signing_and_doing_was_signed_by_nobody(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    run = str(machine.json("restore", "promote", "portal", "files", "--replace", expect=4).document["run"])
    shown = machine("--dry-run", "approve", run, "approve", "--by", "asha", "--key", str(keys / "asha"), expect=0)
    assert "it uses     backups.portal, repositories.main, sources.files in the configuration" in shown.err
    approve(machine, keys, run, "asha")
    file = machine.etc / "opsctl.yaml"
    right = file.read_text()
    file.write_text(right.replace("kind: paths,", "kind: paths, before: [echo, more],"))
    for words in (("--yes", "approve", run, "approve", "--by", "imran", "--key", str(keys / "imran")), ("resume", run)):
        error = machine.json(*words, expect=23).errors[0]
        assert f"sources.files in the configuration changed since run {run} was bound" in error["message"] and "put it back" in error["hint"]
    file.write_text(right)
    approve(machine, keys, run, "imran")
    file.write_text(right.replace("kind: paths,", "kind: paths, before: [echo, more],"))
    machine.json("resume", run, expect=23)
    assert tree(machine.data) == OLD
    file.write_text(right + "organisation: {name: Another, timezone: Asia/Kolkata}\n")
    machine("resume", run, expect=0)
    assert tree(machine.data) == GOOD


def test_a_run_of_an_older_version_goes_on_as_before(machine: Machine, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up(machine, keys, GOOD)
    with monkeypatch.context() as older:
        older.setattr("opsctl.engine.bind._bound_to", lambda config, step, plan: step)
        run = str(machine.json("restore", "promote", "portal", "files", "--replace", expect=4).document["run"])
    assert "configured" not in (machine.state / "runs" / run / "plan.json").read_text()
    file = machine.etc / "opsctl.yaml"
    file.write_text(file.read_text().replace("kind: paths,", "kind: paths, before: [echo, more],"))
    approve(machine, keys, run, "asha", "imran")
    machine("resume", run, expect=0)
    assert tree(machine.data) == GOOD
