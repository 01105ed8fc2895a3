"""The row of DESIGN §2: imports point one way, one module prints, one module names concrete drivers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "opsctl"

ROW = (
    {"cli", "demo", "__main__"}, {"wiring"}, {"engine"}, {"actions"},
    {"sources", "repositories", "isolation", "proofs", "scanning", "vault", "reports", "kit"},
    {"shells"}, {"protocols"}, {"model"}, {"errors"},
)
#: What sets a machine up runs before anything is installed, so it stands beside the row.
SET_UP = {"bootstrap", "environments", "programs", "apt", "setup_machine", "kit_folder", "plain_file", "__init__"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def part(name: str) -> str:
    return name.split(".")[1] if name.count(".") else "__init__"


def place(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports from opsctl, wherever in it that stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "opsctl")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "opsctl":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank(name: str) -> int | None:
    return next((number for number, level in enumerate(ROW) if name in level), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    here = place(path)
    if here in SET_UP:
        return
    mine = rank(here)
    assert mine is not None, f"{here} has no place in the row"
    for name in imports(path):
        there = part(name)
        if there in SET_UP or there == "__version__":
            continue
        theirs = rank(there)
        assert theirs is not None, f"{there} has no place in the row"
        assert mine <= theirs, f"{here} imports {name}, which stands above it"


def test_only_wiring_names_concrete_drivers() -> None:
    drivers = ("opsctl.repositories.restic", "opsctl.sources.paths", "opsctl.sources.postgresql", "opsctl.sources.sqlite",
               "opsctl.shells.local", "opsctl.shells.ssh", "opsctl.isolation.nftables", "opsctl.isolation.gateway",
               "opsctl.isolation.aws_security_group", "opsctl.isolation.command", "opsctl.scanning.yara")
    for path in MODULES:
        here = place(path)
        # The modules of a folder know each other; a signal and the first commands need the children of this process.
        if here in {"wiring", "sources", "repositories", "shells", "isolation", "scanning"} or path.name in {"signals.py", "start.py"}:
            continue
        named = [name for name in imports(path) for driver in drivers
                 if name.startswith(driver) and not name.startswith("opsctl.sources.postgresql_server")]  # a server, no driver
        assert not named, f"{path.relative_to(PACKAGE)} names {named}"


def test_only_render_prints() -> None:
    for path in MODULES:
        if place(path) in SET_UP or path.name == "render.py" or path.name == "config_docs.py":
            continue
        printed = [node.lineno for node in ast.walk(ast.parse(path.read_text()))
                   if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert not printed, f"{path.relative_to(PACKAGE)} prints at {printed}"


def test_a_module_opens_with_the_sentence_it_exists_for() -> None:
    for path in MODULES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text, f"{path.relative_to(PACKAGE)} says nothing"
