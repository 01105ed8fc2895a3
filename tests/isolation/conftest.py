"""The lab that the tests of isolation share: hosts with containers and children, a forwarder with a zone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.isolation import Lab


@pytest.fixture(scope="session")
def isolation_lab() -> Iterator[Lab]:
    """``h0`` with a container and a macvlan child, ``h1``, zone ``a`` behind ``gw``. Each test leaves it as it was."""
    with Lab(2, zones={"a": 2}, box=["h0"], child=["h0"]) as lab:
        yield lab
