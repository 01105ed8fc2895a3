"""The lab of machines that can be cut off: who reaches whom, and that nothing of it stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring
from tests.lab.isolation import Lab, reached
from tests.lab.sshd import until

pytestmark = [pytest.mark.lab, pytest.mark.as_root("network namespaces need root")]


def test_everyone_reaches_everyone_and_each_is_a_machine_of_its_own(tmp_path: Path) -> None:
    with Lab(2, zones={"a": 1, "b": 1}, box=["h0"], child=["h0"]) as lab:
        h0, a0, outside = lab.hosts["h0"], lab.hosts["a0"], lab.hosts["outside"]
        for space, to in (("outside", h0), ("outside", a0), ("a0", lab.hosts["b0"]), ("h0/box", outside), ("h0/child", outside)):
            assert reached(lab, space, to.address, 22), (space, to)
            assert reached(lab, space, to.address6, 22), (space, to)
        for user, sudo in (("root", False), ("ops", True)):
            with Connection(lab.target("h0", user=user, sudo=sudo), Keyring()) as connection:
                shell = SshShell(connection)
                assert shell.plain().run(["hostname"]).text == "h0\n"
                assert "docker0" in shell.run(["sh", "-c", "nft list ruleset"]).text
        assert "docker0" not in lab.run("h1", ["nft", "list", "ruleset"])
        assert lab.run("h1", ["sh", "-c", "lsns -n -t net -o NS | wc -l"]).strip() == "1"
        lab.configure(tmp_path)
        (tmp_path / "opsctl.yaml").write_text(f"state: {tmp_path}/state\n")
        config = load_config(tmp_path)
        assert config.hosts["h0"].isolation == "nftables" and config.hosts["a0"].gateway == "gw"


def test_nothing_of_it_stays_also_where_it_fails() -> None:
    with pytest.raises(RuntimeError), Lab(1, zones={"a": 1}) as lab:
        place, link, pids = lab.place, f"opsiso{lab.number}", [host.pid for host in lab.hosts.values()]
        assert subprocess.run(["ip", "link", "show", link], capture_output=True, check=False).returncode == 0
        raise RuntimeError
    assert not place.exists()
    assert subprocess.run(["ip", "link", "show", link], capture_output=True, check=False).returncode != 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
