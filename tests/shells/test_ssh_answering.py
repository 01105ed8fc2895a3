"""A shell on a host that is asked one thing after another: each request whole or not at all, nothing left running."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opsctl.errors import ProgramFailed, Refused, Unreachable
from opsctl.shells import local
from opsctl.shells.interface import Answering
from opsctl.shells.local import LocalShell
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_answering import SshAnswering
from opsctl.shells.ssh_connection import Connection, Keyring
from tests.lab.sshd import INSIDE, Lab, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("sshd"),
]

SCRIPT = "greet() { echo \"hello $1\"; }"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as made:
        yield made


@pytest.fixture
def shell(lab: Lab) -> Iterator[SshShell]:
    local.reset()
    with Connection(lab.target(), Keyring()) as connection:
        yield SshShell(connection)


@pytest.fixture
def login_shell(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Sets the login shell of the account; afterwards it is what it was, and its home has no dot files."""
    accounts = lab.place / "etc" / "passwd"
    before = accounts.read_text()
    yield lambda path: _overwrite(accounts, before.replace(f"{INSIDE}/home:/bin/sh", f"{INSIDE}/home:{path}"))
    _overwrite(accounts, before)
    for path in lab.home.glob(".*rc"):
        path.unlink()


def _overwrite(path: Path, text: str) -> None:
    with path.open("r+") as file:  # another file in its place would not be the one that is mounted
        file.truncate()
        file.write(text)


@pytest.fixture(params=["ssh", "here"])
def asked(request: pytest.FixtureRequest, lab: Lab, shell: SshShell) -> Answering:
    return (shell if request.param == "ssh" else LocalShell()).answering(SCRIPT)


def test_each_request_has_its_own_answer(asked: Answering) -> None:
    first = asked.ask("greet 'you\nthere'; echo oops >&2; exit 3", 20)
    assert (first.stdout, first.stderr.strip(), first.code) == (b"hello you\nthere\n", b"oops", 3)
    assert asked.ask("cd /; set -e; name=kept", 20).code == 0
    assert asked.ask("echo \"$name\"; pwd", 20).text.splitlines()[0] == ""
    assert asked.ask("cat", 20).stdout == b""
    assert asked.ask("printf 'no newline'", 20).stdout.rstrip(b"\n") == b"no newline"
    assert len(asked.ask("head -c 3000000 /dev/zero; echo", 20).stdout) == 3_000_001


def test_what_it_runs_is_one_command_on_the_host(lab: Lab, shell: SshShell) -> None:
    asked = shell.answering(SCRIPT)
    number = asked.ask("echo $$", 20).text
    assert asked.ask("echo $$", 20).text == number
    asked.close()
    until(lambda: int(number) not in {int(pid) for pid in lab.run("ps", "-eo", "pid=").split()})


def test_what_watches_it_ends_with_it(lab: Lab, shell: SshShell) -> None:
    asked = shell.answering(SCRIPT)
    assert isinstance(asked, SshAnswering)
    asked.ask("true", 20)
    until(lambda: lab.processes("sleep 5"))
    for pid in lab.processes("sleep 5"):
        status = Path(f"/proc/{pid}/status").read_text()
        ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), 16)
        assert not ignored & 1 << signal.SIGTERM - 1, "it outlives what it waits beside by its five seconds"
    asked.close()
    until(lambda: not lab.processes(asked._mark))


@pytest.mark.parametrize(("path", "noise"), [
    ("/bin/bash", "printf '\\033]0;a title\\007'; echo more"),
    ("/bin/bash", "printf 'no newline'; exec 2>&1"),
    ("/bin/tcsh", "echo hello"),
    ("/bin/tcsh", ""),
])
def test_whatever_the_login_shell_is_and_says(lab: Lab, shell: SshShell, login_shell: Callable[[str], None], path: str, noise: str) -> None:
    login_shell(path)
    (lab.home / (".bashrc" if path == "/bin/bash" else ".tcshrc")).write_text(noise + "\n")
    asked = shell.answering(f"{SCRIPT}\nmany() {{\n    # two lines, 'quoted' and \"so\", * ? ~ ^ @ % and \\ \n    printf '%s|' \"$@\"\n}}\n")
    found = asked.ask("many 'a\nb' '' ' * ' \"it's\"; greet you", 20)
    assert (found.stdout, found.code) == (b"a\nb|| * |it's|hello you\n", 0)
    assert asked.ask("head -c 9 /dev/zero | tr '\\0' x; sleep 6; echo", 20).stdout == b"xxxxxxxxx\n", "no sign of life gets between what is said"
    said = shell.run(["printf", "%s|", "a\nb\n", "\n", "", "~^@%?,_+\n", " x", "a!b !\n!", "!"])
    assert said.stdout.endswith(b"a\nb\n|\n||~^@%?,_+\n| x|a!b !\n!|!|")


def test_a_request_that_is_cut_off_is_not_begun(lab: Lab, shell: SshShell) -> None:
    asked = shell.answering(SCRIPT)
    assert isinstance(asked, SshAnswering)
    asked.ask("true", 20)
    assert asked._running is not None
    asked._running.channel.sendall(b"touch /tmp/half; touch /tmp/whole")
    shell.connection.close()
    until(lambda: not lab.processes(asked._mark))
    assert "/tmp/half" not in lab.files()


def test_no_answer_in_time_is_13_keeps_what_came_and_ends_there(lab: Lab, shell: SshShell) -> None:
    asked, partial = shell.answering(SCRIPT), bytearray()
    with pytest.raises(Unreachable, match="did not answer within"):
        asked.ask("echo begun; exec sleep 4712", 0.5, partial)
    assert partial == b"begun\n"
    assert asked.ask("greet again", 20).stdout == b"hello again\n"
    until(lambda: not lab.processes("sleep 4712"))


def test_a_connection_that_goes_is_13_and_the_next_request_makes_another(lab: Lab, shell: SshShell) -> None:
    asked = shell.answering(SCRIPT)
    asked.ask("true", 20)
    lab.kill_sessions()
    with pytest.raises(Unreachable):
        asked.ask("echo lost", 20)
    assert asked.ask("greet again", 20).stdout == b"hello again\n"


def test_a_shell_that_sudo_refuses_is_12(lab: Lab) -> None:
    with Connection(lab.target(), Keyring()) as connection, pytest.raises(Refused, match="does not let ops run sh"):
        SshShell(connection, sudo=True).answering(SCRIPT).ask("true", 20)


@pytest.mark.parametrize("end", [" ", " x", " 1 1", " 9999"])
def test_an_answer_whose_end_another_program_there_has_written_is_20(shell: SshShell, end: str) -> None:
    asked = shell.answering(SCRIPT)
    assert isinstance(asked, SshAnswering)
    with pytest.raises(ProgramFailed):  # who owns the host knows the mark
        asked.ask(rf"printf '\n{asked._mark}{end}\nerrors\n{asked._mark}\n'; sleep 20", 10)
    assert asked.ask("greet again", 20).stdout == b"hello again\n"
