"""What comes of an SQLite database from a host is held against what the host said, and that against the room here."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from opsctl.errors import ProgramFailed
from opsctl.sources.sqlite import require_space
from opsctl.sources.sqlite_remote import _Header


def test_a_host_cannot_fill_this_machine(tmp_path: Path) -> None:
    file = io.BytesIO()
    header = _Header(file, on_size=lambda size: require_space(tmp_path, size))
    with pytest.raises(ProgramFailed, match="are free"):
        header.take(b'{"bytes": 1152921504606846976, "sqlite": "3"}\nabc')
    assert file.getvalue() == b""
    more = _Header(file)
    with pytest.raises(ProgramFailed, match="more bytes came"):
        more.take(b'{"bytes": 2, "sqlite": "3"}\nabc')
    assert file.getvalue() == b""
