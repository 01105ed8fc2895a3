"""Who is connected to, and with what: pinned keys only, login keys that nobody else can read, no host waited for in vain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import OpsError, Refused
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits, Login, shown_key
from tests.lab.sshd import Lab, new_key, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("sshd"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(5, more="MaxStartups 16:100:16") as made:
        yield made


def connected(lab: Lab, number: int = 0, **more: Any) -> SshShell:
    return SshShell(Connection(lab.target(number, **more), Keyring()))


def refused(lab: Lab, **more: Any) -> OpsError:
    with pytest.raises(OpsError) as caught:
        connected(lab, **more).run(["true"])
    return caught.value


def logged(lab: Lab, number: int) -> str:
    return (lab.hosts[number].folder / "log").read_text()


def test_another_host_key_is_refused_and_nothing_is_sent(lab: Lab) -> None:
    error = refused(lab, host_key=lab.hosts[1].key)
    assert isinstance(error, Refused) and error.code == 12
    assert "shows another key than the pinned one: SHA256:" in error.message and "nothing was sent" in (error.hint or "")
    assert error.details["shown"] != error.details["pinned"]
    until(lambda: "[preauth]" in logged(lab, 0))
    assert "for ops" not in logged(lab, 0).splitlines()[-1], "not even a name was sent"


def test_a_pinned_key_of_a_type_that_is_gone_is_refused(lab: Lab) -> None:
    rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7"
    error = refused(lab, host_key=rsa)
    assert error.code == 12 and "no key of the pinned type ssh-rsa" in error.message


def test_without_a_pinned_key_nothing_is_sent_and_it_says_how_to_pin(lab: Lab) -> None:
    before = logged(lab, 2)
    with pytest.raises(Refused, match=r"no key of h2 .* is pinned") as caught:
        connected(lab, 2, host_key=None).run(["true"])
    assert "opsctl hosts add h2 10.213." in (caught.value.hint or "") and "ssh-keygen -lf" in (caught.value.hint or "")
    assert logged(lab, 2) == before


def test_the_wrong_login_key_is_12_and_names_it(lab: Lab, tmp_path: Path) -> None:
    new_key(tmp_path / "other")
    error = refused(lab, login=Login(tmp_path / "other"))
    assert error.code == 12 and "does not let ops in with the key SHA256:" in error.message
    assert "hosts prepare h0" in (error.hint or "")


def test_login_keys_that_cannot_be_used(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    missing = refused(lab, login=Login(tmp_path / "none"))
    assert "is not there" in missing.message and "--key FILE" in (missing.hint or "")
    assert "hosts prepare" in (refused(lab, login=Login(tmp_path / "ssh-isolation")).hint or "")
    assert "no ssh-agent holds one" in refused(lab, login=Login(None)).message
    new_key(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    error = refused(lab, login=Login(tmp_path / "open"))
    assert error.code == 12 and "others can read" in error.message and "chmod 600" in (error.hint or "")
    (tmp_path / "text").write_text("no key\n")
    (tmp_path / "text").chmod(0o600)
    assert "no private SSH key" in refused(lab, login=Login(tmp_path / "text")).message
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(locked)], check=True)
    error = refused(lab, login=Login(locked))
    assert "protected by a passphrase" in error.message and f"ssh-add {locked}" in (error.hint or "")


def test_an_agent_serves_where_the_key_is_away(lab: Lab, tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        until(socket.exists)
        add = ["ssh-add", "-q", str(lab.place / "login")]
        subprocess.run(add, env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, check=True)
        assert connected(lab, login=Login(tmp_path / "away", agent=str(socket))).run(["true"]).code == 0
    finally:
        agent.kill()
        agent.wait()


def test_a_silent_host_and_a_closed_port_are_13(lab: Lab) -> None:
    limits = Limits(connect=0.5, handshake=0.5)
    error = refused(lab, address=lab.silent, limits=limits)
    assert error.code == 13 and "did not answer within 0.5 seconds" in error.message
    error = refused(lab, port=23)
    assert error.code == 13 and "port 23) cannot be reached: Connection refused" in error.message


def test_a_port_that_takes_the_call_and_says_nothing_is_13(lab: Lab) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        error = refused(lab, address="127.0.0.1", port=port, limits=Limits(connect=2, handshake=0.5))
    assert error.code == 13 and "said nothing for 0.5 seconds" in error.message


def test_the_key_that_a_host_shows_can_be_looked_at_without_a_login(lab: Lab) -> None:
    assert shown_key(lab.target(3, host_key=None, login=Login(None))) == lab.hosts[3].key
    assert "Accepted" not in logged(lab, 3)


def test_many_connections_to_one_sshd_do_not_crowd_at_its_door(lab: Lab) -> None:
    """As behind a bastion: it drops whoever comes when sixteen have not logged in yet, as it sees it, which is late."""
    many = [Connection(lab.target(4), Keyring()) for _ in range(40)]
    with ThreadPoolExecutor(len(many)) as pool:
        list(pool.map(Connection.transport, many))
    assert all(one.is_alive() for one in many)
    for one in many:
        one.close()
    assert "MaxStartups" not in logged(lab, 4) and logged(lab, 4).count("Accepted publickey") == 40
