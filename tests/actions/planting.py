"""What somebody does who knows a repository's password: records and dumps of their own, put beside ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsctl.model.records import NAMESPACES, canonical, envelope
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer, fingerprint
from tests.machine import Machine


def make_key(place: Path) -> Path:
    """A key that nobody vouched for."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True, stdin=subprocess.DEVNULL)
    return place


def name_of(key: Path) -> str:
    """The fingerprint of a key."""
    return fingerprint(key.with_suffix(".pub").read_text())


def plant(machine: Machine, record: Mapping[str, Any], key: Path | None = None, *, mark: str = "manifest") -> None:
    """Store a record as somebody who knows the password would; signed where there is a key."""
    content = json.dumps({"record": record, "signature": "none"}).encode()
    if key is not None:
        signature = Signer(key, LocalShell()).sign(canonical(record), NAMESPACES[record["format"]])
        content = envelope(record, signature)
    plant_raw(machine, content, mark=mark)


def plant_raw(machine: Machine, content: bytes, *, mark: str = "manifest") -> None:
    """Store anything at all where a record stands."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "record.json"
        file.write_bytes(content)
        machine.restic("backup", "--tag", f"opsctl,{mark}", str(file))


def newest(machine: Machine) -> dict[str, Any]:
    """The record of the newest set."""
    sets = machine.json("backup", "list", expect=0).result["sets"]
    return dict(machine.json("backup", "show", sets[-1]["set"], expect=0).result["sets"][0]["record"])


def plant_file(machine: Machine, file: Path, name: str) -> dict[str, Any]:
    """Store a file as the only one of a snapshot, by ``/name``; what a manifest says of such a snapshot."""
    words = ["backup", "--stdin-from-command", "--stdin-filename", name, "--tag", "opsctl", "--", "cat", str(file)]
    machine.restic(*words)
    found = max(machine.snapshots(), key=lambda one: one["time"])
    return {"snapshot": found["id"], "tree": found["tree"], "bytes": file.stat().st_size, "paths": [f"/{name}"]}
