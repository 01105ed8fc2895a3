"""Proof by trying that a store refuses what it is said to refuse, and that trying leaves no trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsctl.errors import Refused
from opsctl.repositories.rest_store import RestStore
from opsctl.repositories.store import LocalStore
from tests.lab.places import open_folder
from tests.lab.restserver import RestServer


@contextmanager
def rest_server(*, append_only: bool) -> Iterator[tuple[RestServer, RestStore]]:
    """A server with one repository that looks made: two index files, no more."""
    with open_folder() as directory:
        server = RestServer(directory / "store", append_only=append_only, user="portal", password="word")
        with server:
            index = server.repository_path("main") / "index"
            index.mkdir(parents=True, mode=0o755)
            for content in (b"i" * 40, b"a longer index" * 10):
                (index / hashlib.sha256(content).hexdigest()).write_bytes(content)
            yield server, RestStore(f"{server.url}/main", user="portal", secret=lambda: "word")


def everything(directory: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.lab
def test_append_only_is_proven_and_leaves_no_trace() -> None:
    with rest_server(append_only=True) as (server, store):
        before = everything(server.repository_path("main"))
        tried = store.prove_refusal()
        assert [(each.what, each.refused) for each in tried] == [("delete", True)] * 4 + [("overwrite", True)]
        assert everything(server.repository_path("main")) == before


@pytest.mark.lab
def test_a_server_that_would_delete_is_found_out() -> None:
    with rest_server(append_only=False) as (server, store):
        before = everything(server.repository_path("main"))
        tried = store.prove_refusal()
        assert [(each.what, each.refused) for each in tried] == [("delete", False)] * 4 + [("overwrite", None)]
        assert "would not refuse to delete" in tried[0].message
        assert everything(server.repository_path("main")) == before


@pytest.mark.lab
def test_a_wrong_login_proves_nothing() -> None:
    with rest_server(append_only=True) as (server, _):
        with pytest.raises(Refused, match="does not accept these credentials"):
            RestStore(f"{server.url}/main", user="portal", secret=lambda: "guess").prove_refusal()


def test_a_folder_refuses_nothing(tmp_path: Path) -> None:
    assert [each.refused for each in LocalStore(tmp_path).prove_refusal()] == [False]
