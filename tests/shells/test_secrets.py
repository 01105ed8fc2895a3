"""Secrets are read from where they are kept, refused where others can read them, and shown nowhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from opsctl.errors import Refused
from opsctl.model.secrets import SecretRef
from opsctl.shells.local import LocalShell
from opsctl.shells.secrets import read_secret

SECRET = "hunter2 पासवर्ड"


def keep(path: Path, content: bytes, mode: int = 0o600) -> SecretRef:
    path.write_bytes(content)
    path.chmod(mode)
    return SecretRef("password of main", file=str(path))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_file(tmp_path: Path, end: str) -> None:
    found = read_secret(keep(tmp_path / "secret", (SECRET + end).encode()), LocalShell())
    assert found.reveal() == SECRET
    assert SECRET not in f"{found} {found!r} {[found]}"


def test_command_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", SECRET)
    assert read_secret(SecretRef("password", env="SOME_SECRET"), LocalShell()).reveal() == SECRET
    command = (sys.executable, "-c", f"print({SECRET!r})")
    assert read_secret(SecretRef("password", command=command), LocalShell()).reveal() == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    ref = keep(tmp_path / "secret", SECRET.encode(), mode)
    with pytest.raises(Refused) as caught:
        read_secret(ref, LocalShell())
    assert caught.value.hint == f"chmod 600 {tmp_path}/secret"
    assert SECRET not in json.dumps(caught.value.as_dict(), ensure_ascii=False)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfehunter2", b"hunt\0er2"])
def test_a_file_without_a_usable_secret(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_secret(keep(tmp_path / "secret", content), LocalShell())
    assert str(tmp_path) in caught.value.message
    error: BaseException | None = caught.value
    while error is not None:  # the causes are printed with it
        assert "hunt" not in repr(error)
        error = (
            error.__cause__ or error.__context__
            if not getattr(error, "__suppress_context__", False)
            else None
        )


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    refs = [
        SecretRef("password", file=str(tmp_path / "nowhere")),
        SecretRef("password", file=str(tmp_path)),
        SecretRef("password", env="NO_SUCH_SECRET"),
        SecretRef("password", command=("no-such-program",)),
        SecretRef("password", command=("true",)),
    ]
    for ref in refs:
        with pytest.raises(Refused, match="password from"):
            read_secret(ref, LocalShell())


def test_a_failing_command_gives_nothing_away() -> None:
    command = ("sh", "-c", "echo hunter2; echo hunter2 >&2; exit 1")
    with pytest.raises(Refused) as caught:
        read_secret(SecretRef("password", command=command), LocalShell())
    assert "hunter2" not in json.dumps(caught.value.as_dict())
