"""What is signed can be checked anywhere, and nothing else passes for it."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsctl.errors import DamagedData, ProgramFailed, Refused
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer, check, fingerprint

NAMESPACE = "manifest@opsctl"
DATA = "नगर पालिका\n".encode()


def make_key(directory: Path, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(directory / name)]
    subprocess.run(argv, check=True)
    return directory / name


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys"), "controller")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys"), "asha", passphrase="not to be asked for")


@pytest.fixture(scope="module")
def signature(key: Path) -> str:
    return Signer(key, LocalShell()).sign(DATA, NAMESPACE)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> LocalShell:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return LocalShell()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    socket = str(tmp_path / "agent")
    running = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None and running.stdout.readline()
        yield socket
    finally:
        running.kill()
        running.communicate()


def add(agent: str, key: Path, passphrase: str, tmp_path: Path) -> None:
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    askpass.chmod(0o700)
    subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "SSH_AUTH_SOCK": agent, "SSH_ASKPASS": str(askpass),
                        "SSH_ASKPASS_REQUIRE": "force"})


def told_by_ssh_keygen(public: Path) -> str:
    return subprocess.run(["ssh-keygen", "-l", "-f", str(public)], check=True, capture_output=True,
                          text=True).stdout.split()[1]


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_what_was_signed_is_believed_of_its_key(tmp_path: Path, shell: LocalShell, kind: str) -> None:
    key = make_key(tmp_path, "key", kind=kind)
    made = Signer(key, shell).sign(DATA, NAMESPACE)
    public = key.with_suffix(".pub")
    assert check(DATA, made, NAMESPACE, shell) == told_by_ssh_keygen(public)
    assert fingerprint(made) == fingerprint(public.read_text()) == told_by_ssh_keygen(public)
    assert fingerprint(f"restrict,from=\"10.0.0.1\" {public.read_text()}") == told_by_ssh_keygen(public)


@pytest.mark.parametrize("data", [b"", b"\0" * 100_000, b"\xff\xfe"])
def test_any_bytes_can_be_signed(key: Path, shell: LocalShell, data: bytes) -> None:
    made = Signer(key, shell).sign(data, NAMESPACE)
    assert check(data, made, NAMESPACE, shell)
    with pytest.raises(DamagedData):
        check(data + b" ", made, NAMESPACE, shell)


def test_openssh_itself_agrees(key: Path, signature: str, tmp_path: Path) -> None:
    (tmp_path / "sig").write_text(signature)
    (tmp_path / "allowed").write_text(f"controller {key.with_suffix('.pub').read_text()}")
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "controller",
            "-n", NAMESPACE, "-s", str(tmp_path / "sig")]
    subprocess.run(argv, input=DATA, check=True, stdout=subprocess.DEVNULL)


def test_a_signature_for_one_purpose_does_not_stand_under_another(signature: str, shell: LocalShell) -> None:
    with pytest.raises(DamagedData, match="another purpose, 'manifest@opsctl', not for 'done@opsctl'"):
        check(DATA, signature, "done@opsctl", shell)
    with pytest.raises(DamagedData):
        # the name in the text changed by hand: same length, so that all lengths still hold
        check(DATA, renamed(signature), "manifesto@opsct", shell)


def renamed(signature: str) -> str:
    first, *middle, last = signature.splitlines()
    raw = base64.b64decode("".join(middle)).replace(b"manifest@opsctl", b"manifesto@opsct")
    return "\n".join([first, base64.b64encode(raw).decode(), last]) + "\n"


def test_other_data_and_other_text_do_not_pass(signature: str, shell: LocalShell) -> None:
    for data in (b"", DATA[:-1], DATA + b"\n"):
        with pytest.raises(DamagedData, match="does not hold"):
            check(data, signature, NAMESPACE, shell)
    lines = signature.splitlines()
    for text in ("", "x", lines[0], "\n".join(lines[1:]), "\n".join(lines[:-1]),
                 "\n".join([lines[0], lines[-1]]), "\n".join([lines[0], "!!!!", lines[-1]]),
                 signature.replace("U1NIU0lH", "U1NIU0lI")):
        with pytest.raises(DamagedData):
            check(DATA, text, NAMESPACE, shell)
        with pytest.raises(DamagedData):
            fingerprint(text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_no_flipped_bit_passes(signature: str, shell: LocalShell, place: int, bit: int) -> None:
    first, *middle, last = signature.splitlines()
    raw = bytearray(base64.b64decode("".join(middle)))
    raw[place % len(raw)] ^= 1 << bit
    changed = "\n".join([first, base64.b64encode(raw).decode(), last]) + "\n"
    with pytest.raises(DamagedData):
        check(DATA, changed, NAMESPACE, shell)


def test_checking_leaves_no_file_and_needs_none(
        signature: str, shell: LocalShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not-there"))
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        check(DATA, signature, NAMESPACE, shell)
    with pytest.raises(DamagedData):
        check(b"", signature, NAMESPACE, shell)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_key_that_is_not_there_is_refused(tmp_path: Path, shell: LocalShell) -> None:
    for key, says in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"),
                      (None, "no key to sign with")):
        with pytest.raises(Refused, match=says) as raised:
            Signer(key, shell).sign(DATA, NAMESPACE)
        assert raised.value.code == 12 and raised.value.hint


def test_a_file_that_is_no_key_is_refused(tmp_path: Path, shell: LocalShell) -> None:
    frame = "-----{} OPENSSH PRIVATE KEY-----\n"
    for content in ("", "hello\n", frame.format("BEGIN") + "AAAA\n" + frame.format("END")):
        bad = tmp_path / "bad"
        bad.write_text(content)
        bad.chmod(0o600)
        with pytest.raises(Refused, match="could not sign with"):
            Signer(bad, shell).sign(DATA, NAMESPACE)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, shell: LocalShell) -> None:
    key = make_key(tmp_path, "open")
    key.chmod(0o644)
    with pytest.raises(Refused, match="others can read the signing key") as raised:
        Signer(key, shell).sign(DATA, NAMESPACE)
    assert f"chmod 600 {key}" in (raised.value.hint or "")


def test_a_key_with_a_passphrase_is_refused_without_an_agent(locked: Path, shell: LocalShell) -> None:
    with pytest.raises(Refused, match="protected by a passphrase") as raised:
        Signer(locked, shell).sign(DATA, NAMESPACE)
    assert f"ssh-add {locked}" in (raised.value.hint or "")
    locked.with_suffix(".pub").rename(locked.with_suffix(".away"))
    try:
        with pytest.raises(Refused, match="protected by a passphrase"):
            Signer(locked, shell).sign(DATA, NAMESPACE)
    finally:
        locked.with_suffix(".away").rename(locked.with_suffix(".pub"))


def test_nobody_is_asked_for_a_passphrase_at_a_terminal_either(locked: Path) -> None:
    script = ("import sys\nfrom pathlib import Path\nfrom opsctl.errors import Refused\n"
              "from opsctl.shells.local import LocalShell\nfrom opsctl.shells.signing import Signer\n"
              "try:\n    Signer(Path(sys.argv[1]), LocalShell()).sign(b'', 'manifest@opsctl')\n"
              "except Refused as error:\n    print('REFUSED', error)\n")
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", script, str(locked)])
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:      # how a terminal says that nobody is at its other end any more
        pass
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    assert shown.startswith(b"REFUSED the signing key") and b"Enter passphrase" not in shown


def test_an_agent_signs_for_a_locked_key_and_for_a_public_one(
        locked: Path, key: Path, agent: str, shell: LocalShell, tmp_path: Path) -> None:
    public = locked.with_suffix(".pub")
    for signer in (Signer(locked, shell, agent), Signer(public, shell, agent)):
        with pytest.raises(Refused):
            signer.sign(DATA, NAMESPACE)
    add(agent, locked, "not to be asked for", tmp_path)
    for signer in (Signer(locked, shell, agent), Signer(public, shell, agent)):
        made = signer.sign(DATA, NAMESPACE)
        assert check(DATA, made, NAMESPACE, shell) == fingerprint(public.read_text())
    with pytest.raises(Refused, match="could not sign"):
        Signer(key.with_suffix(".pub"), shell, agent).sign(DATA, NAMESPACE)


def test_the_agent_of_the_environment_is_found(
        locked: Path, agent: str, shell: LocalShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(agent, locked, "not to be asked for", tmp_path)
    with pytest.raises(Refused, match="no agent is running"):
        Signer(locked.with_suffix(".pub"), shell).sign(DATA, NAMESPACE)
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    assert check(DATA, Signer(locked, shell).sign(DATA, NAMESPACE), NAMESPACE, shell)


def test_an_agent_that_is_gone_does_not_stop_a_key_that_is_here(
        key: Path, locked: Path, shell: LocalShell, tmp_path: Path) -> None:
    assert Signer(key, shell, str(tmp_path / "gone")).sign(DATA, NAMESPACE)
    with pytest.raises(Refused, match="protected by a passphrase"):
        Signer(locked, shell, str(tmp_path / "gone")).sign(DATA, NAMESPACE)


def test_without_ssh_keygen_it_says_so(
        key: Path, signature: str, shell: LocalShell, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramFailed, match="ssh-keygen"):
        check(DATA, signature, NAMESPACE, shell)
    with pytest.raises(ProgramFailed, match="ssh-keygen"):
        Signer(key, shell).sign(DATA, NAMESPACE)


@pytest.mark.parametrize("namespace", ["", "-f", "manifest", "a b@c", "manifest@opsctl\n", "Ünicode@opsctl"])
def test_a_namespace_is_a_word_of_ours(key: Path, signature: str, shell: LocalShell, namespace: str) -> None:
    with pytest.raises(ValueError, match="no namespace"):
        Signer(key, shell).sign(DATA, namespace)
    with pytest.raises(ValueError, match="no namespace"):
        check(DATA, signature, namespace, shell)


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !!", "hello world", "rsa AAAA"])
def test_what_is_no_public_key_has_no_fingerprint(text: str) -> None:
    with pytest.raises(DamagedData, match="no SSH public key"):
        fingerprint(text)
