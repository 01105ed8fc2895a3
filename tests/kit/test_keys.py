"""A key in escrow: enough shares open the repository, and whatever is wrong with one is named."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from opsctl.errors import Refused
from opsctl.model.escrow import join, password_of, read_share, split
from tests.machine import PACKAGE, Kept, Machine, tree

SECRET = bytes(range(16))


def shares(identifier: int = 77, need: int = 3, number: int = 5) -> list[str]:
    return split(SECRET, identifier, need, number)


def test_any_three_of_five_give_the_secret_and_two_do_not() -> None:
    words = shares()
    for chosen in ((0, 1, 2), (4, 2, 0), (1, 3, 4)):
        assert join([read_share(words[one], f"share {one}") for one in chosen]) == SECRET
    with pytest.raises(Refused, match="2 shares of set 77, and 3 are needed"):
        join([read_share(words[one], "x") for one in (0, 1)])


def test_what_is_wrong_with_a_share_is_named() -> None:
    words = shares()
    good = words[0].split()
    with pytest.raises(Refused, match="word 3, 'acadmic', is in no share; academic"):
        read_share(" ".join([*good[:2], "acadmic", *good[3:]]), "envelope 1")
    with pytest.raises(Refused, match="envelope 1: a word is wrong, or two are swapped"):
        read_share(" ".join([good[1], good[0], *good[2:]]) if good[0] != good[1] else " ".join(reversed(good)), "envelope 1")
    with pytest.raises(Refused, match="20 words, and here are 19"):
        read_share(" ".join(good[1:]), "envelope 1")
    first, other = read_share(words[0], "envelope 1"), read_share(shares(78)[1], "envelope 2")
    with pytest.raises(Refused, match="envelope 2: of set 78; envelope 1 is of set 77"):
        join([first, other])
    with pytest.raises(Refused, match="the same share as envelope 1"):
        join([first, read_share(words[0], "envelope 3")])


def test_numbers_and_line_breaks_of_the_page_are_no_words() -> None:
    listed = shares()[0].split()
    assert read_share("\n".join(f"{place:>2} {word.upper()}," for place, word in enumerate(listed, 1)), "x").words == " ".join(listed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, with_a_file: Machine) -> Kept:
    """A machine whose repository has a key in escrow; its shares in ``paper``."""
    machine = with_a_file
    found = machine.json("keys", "escrow", "--shares", "3", "--need", "2", "--into", str(machine.root / "paper"), expect=0).result
    assert found["steps"][0]["result"]["repositories"] == ["main"]
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def share(machine: Machine, number: int) -> str:
    return str(machine.root / "paper" / f"share-{number}.txt")


def test_shares_open_the_repository_when_its_password_is_lost(machine: Machine, tmp_path: Path) -> None:
    password = tmp_path / "password"
    everyday = machine.etc / "keys" / "repository-password"
    everyday.rename(tmp_path / "lost")
    bare = Machine(tmp_path / "bare")
    said = bare.json("keys", "recover", share(machine, 3), share(machine, 1), "--into", str(password), "--repository",
                     str(machine.store), expect=0).result
    assert len(said["opens"]) == 1 and password.stat().st_mode & 0o777 == 0o600
    shutil.copy(password, everyday)
    listed = {one["user"]: one for one in machine.json("keys", "list", expect=0).result["repositories"]["main"]}
    assert listed[f"escrow-{said['set']}"]["ours"] and len(listed) == 2
    machine("backup", "run", expect=0)
    everyday.unlink()
    (tmp_path / "lost").rename(everyday)
    machine("backup", "run", "--force", expect=0)


def test_too_few_shares_and_shares_of_another_repository_leave_no_file(machine: Machine, tmp_path: Path) -> None:
    refused = machine.json("keys", "recover", share(machine, 1), "--into", str(tmp_path / "p"), expect=12)
    assert "1 share of set" in refused.errors[0]["message"] and "2 are needed" in refused.errors[0]["message"]
    machine.json("keys", "escrow", "--shares", "2", "--need", "2", "--into", str(machine.root / "more"), expect=0)
    other = str(machine.root / "more" / "share-2.txt")
    refused = machine.json("keys", "recover", share(machine, 1), other, "--into", str(tmp_path / "p"), expect=12)
    assert "only shares of one set fit" in refused.errors[0]["message"]
    strange = tmp_path / "strange"
    strange.mkdir()
    for number, words in enumerate(split(SECRET, 5, 2, 2), 1):
        (strange / str(number)).write_text(words)
    refused = machine.json("keys", "recover", str(strange / "1"), str(strange / "2"), "--into", str(tmp_path / "p"), expect=12)
    assert "the password of set 5 does not open main" in refused.errors[0]["message"]
    assert not (tmp_path / "p").exists()


def test_the_password_and_the_shares_are_nowhere_but_on_paper(machine: Machine) -> None:
    texts = [Path(share(machine, number)).read_text() for number in (1, 2, 3)]
    words = [read_share(text.split("-----")[1], "x") for text in texts]
    password = password_of(join(words[:2])).encode()
    for place in (machine.state, machine.etc, machine.root / "run"):
        for name, content in tree(place).items():
            assert password not in content and not any(share.words.encode() in content for share in words), name
    assert (machine.root / "paper").stat().st_mode & 0o777 == 0o700
    page = (machine.root / "paper" / "share-1.html").read_text()
    assert "<svg" in page and "समूह" in page and all(word in page for word in words[0].words.split())


def test_a_run_that_lost_its_shares_makes_no_key_that_nobody_can_use(machine: Machine) -> None:
    run = next(entry["run"] for entry in machine.json("journal", "show", "--limit", "0", expect=0).result["lines"]
               if entry["run"] and "escrow" in entry["run"])
    shutil.rmtree(machine.root / "paper")
    before = sorted((machine.store / "keys").iterdir())
    machine.json("resume", run)
    assert sorted((machine.store / "keys").iterdir()) == before


def talk(machine: Machine, words: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """A command at a terminal: each answer is typed when it asks."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({**machine.environ, "PYTHONPATH": str(PACKAGE)})
        os.execv(sys.executable, [sys.executable, "-m", "opsctl", "--config", str(machine.etc), *words])
    said, left = b"", list(answers)
    try:
        while select.select([terminal], [], [], 60)[0]:
            said += os.read(terminal, 65536)
            if left and said.endswith((b"goes on: ", b"the screen: ", b"20 words: ")):
                os.write(terminal, f"{left.pop(0)}\n".encode())
    except OSError:  # so a terminal says that nobody is there any more
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


@pytest.mark.full
def test_shares_are_shown_one_by_one_and_typed_back(machine: Machine, tmp_path: Path) -> None:
    code, said = talk(machine, ["keys", "escrow", "--shares", "3", "--need", "2"], ["", "", "", ""])
    assert code == 0, said
    papers = [" ".join(re.sub(r"[0-9]", " ", found).split()) for found in re.findall(r"-----\r?\n(.*?)-----", said, re.DOTALL)]
    assert len(papers) == 3 and not list((machine.root / "run").rglob("escrow*")), "nothing is left of them"
    code, said = talk(machine, ["keys", "recover", "--into", str(tmp_path / "password")], ["nonsense", papers[2], papers[2], papers[0]])
    assert code == 0 and "is in no share" in said and "the same share as" in said and "it opens main" in said, said
