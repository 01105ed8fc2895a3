"""What is not cut off with others, and which stores stay in reach, by every address that the configuration tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.model.config import Config
from opsctl.model.coverage import stops
from opsctl.model.isolation_guard import out_of_reach, stays, stores

_HOSTS = """hosts:
  store: {address: 10.0.0.5, addresses: [fd00::5, 10.7.0.0/24], isolation: gateway, gateway: gw}
  gw: {address: 10.0.0.1, addresses: [10.0.1.1]}
"""


def configured(place: Path, url: str = "") -> Config:
    (place / "keys").mkdir()
    (place / "keys" / "p").write_text("p\n")
    (place / "keys" / "p").chmod(0o600)
    repository = f"repositories:\n  far: {{url: '{url}', password_file: keys/p, user: u, secret_file: keys/p}}\n" if url else ""
    (place / "opsctl.yaml").write_text(f"state: {place}/state\nisolation: {{managers: [10.0.1.1]}}\n{repository}{_HOSTS}")
    return load_config(place)


@pytest.mark.parametrize("server", ["10.0.0.5", "[fd00::5]", "10.7.0.9", "store"])
def test_a_store_is_known_by_every_address_and_by_the_name_of_its_host(tmp_path: Path, server: str) -> None:
    config = configured(tmp_path, f"rest:https://{server}:8000/far")
    assert stays("store", config, here=False) == "store serves the repository far"
    assert list(stops(["store"], config)) == ["repository far: nothing is stored or restored, for store serves it"]
    assert not list(out_of_reach(config)) and stays("gw", config, here=False) is not None


def test_a_manager_is_known_by_its_other_addresses(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert stays("gw", config, here=False) == "gw is a manager: isolation: managers: names its address"
    assert stays("store", config, here=False) is None


@pytest.mark.parametrize(("server", "opened"), [
    ("10.0.0.5:8000", ["out:tcp:10.0.0.5:8000"]), ("store:8000", ["out:tcp:10.0.0.5:8000"]), ("[fd00::5]", ["out:tcp:[fd00::5]:443"]),
    ("backup.example.in", []),
])
def test_a_store_stays_in_reach_where_its_address_is_told(tmp_path: Path, server: str, opened: list[str]) -> None:
    config = configured(tmp_path, f"rest:https://{server}/far")
    assert [str(one) for one in stores(config)] == opened
    assert list(out_of_reach(config)) == ([] if opened else ["far"])
