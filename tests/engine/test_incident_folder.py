"""The folder of an incident as it comes back from a repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from opsctl.engine.incident_folder import Folder
from opsctl.errors import DamagedData


def test_no_link_in_what_came_reaches_a_file_of_this_machine(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "restic").write_text("a program")
    came = tmp_path / "came"
    came.mkdir()
    (came / "reports").symlink_to(ours)
    digest = hashlib.sha256(b"a program").hexdigest()
    with pytest.raises(DamagedData, match="not what was signed: reports/restic"):
        Folder(tmp_path / "inc-1").bring({"reports/restic": digest}, came)
    assert (ours / "restic").read_text() == "a program"
