"""Commands on real hosts over SSH: whole or said to be broken, ended with the connection, nothing left behind."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import Interrupted, ProgramFailed, Refused, Unreachable
from opsctl.shells import local
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits
from tests.lab.sshd import Lab, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("sshd"),
]

SUDOERS = """\
Defaults !lecture
ops ALL=(root) NOPASSWD: /usr/bin/id, /usr/bin/sleep, /usr/bin/pkill
Defaults:ops env_keep += "SECRET"
ops ALL=(root) NOPASSWD: /usr/bin/printenv SECRET
"""
ZEROS = 20 << 20
ZEROS_SHA = hashlib.sha256(bytes(ZEROS)).hexdigest()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(20, sudoers=SUDOERS) as made:
        yield made


@pytest.fixture(autouse=True)
def going() -> Iterator[None]:
    local.reset()
    yield
    local.reset()


@pytest.fixture
def shell(lab: Lab) -> Iterator[SshShell]:
    with Connection(lab.target(), Keyring()) as connection:
        yield SshShell(connection)


def connected(lab: Lab, number: int = 0, **more: Any) -> SshShell:
    return SshShell(Connection(lab.target(number, **more), Keyring()))


def gone(lab: Lab, word: str) -> None:
    """Wait until no command of the lab starts with the word. (The shell around it has it in its own line.)"""
    until(lambda: not any(line.startswith(word) for line in lab.processes(word).values()))


# output, exit code, standard input, environment


def test_streams_exit_code_and_environment(shell: SshShell) -> None:
    script = 'cat; printf %s "$A" >&2; exit 3'
    found = shell.run(["sh", "-c", script], stdin=b"in\n\0put", env={"A": "it's\na \\secret $x"}, accept=(3,))
    assert (found.code, found.stdout, found.stderr) == (3, b"in\n\0put", b"it's\na \\secret $x")


def test_arguments_arrive_as_they_were_given(shell: SshShell) -> None:
    words = ["", "a b", "it's", '"$HOME"', "*", "; exit 9", "--", "-n", "two\nlines", b"\xff\xfe", "पोर्टल"]
    found = shell.run(["printf", "%s|", *words])
    assert found.stdout == b"".join(w.encode() + b"|" if isinstance(w, str) else w + b"|" for w in words)


def test_the_directory(shell: SshShell) -> None:
    assert shell.run(["pwd"], cwd="/usr/bin").stdout == b"/usr/bin\n"
    with pytest.raises(ProgramFailed, match="/no/such"):
        shell.run(["pwd"], cwd="/no/such")


def test_secrets_are_in_no_argument_list(lab: Lab, shell: SshShell) -> None:
    with shell.open(["sh", "-c", "cat; : 4711"], env={"PASSWORD": "hunter2"}):
        until(lambda: lab.processes(": 4711"))
        assert not lab.processes("hunter2")
        mine = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=False).stdout
        assert "hunter2" not in mine


def test_an_exit_code_and_a_signal_are_told_apart(shell: SshShell) -> None:
    assert shell.run(["sh", "-c", "exit 77"], accept=None).code == 77
    assert shell.run(["sh", "-c", "kill -9 $$"], accept=None).code == -9
    with pytest.raises(ProgramFailed, match=r"sh on h0 failed \(1\): it said so") as failed:
        shell.run(["sh", "-c", "echo it said so >&2; exit 1"])
    assert failed.value.details == {"exit_code": 1}
    with pytest.raises(ProgramFailed, match="was ended by SIGTERM"):
        shell.run(["sh", "-c", "kill -15 $$"])


def test_a_program_that_is_not_there_is_named(shell: SshShell) -> None:
    with pytest.raises(ProgramFailed, match=r"restic9 is not installed on h0 \(10\.213\.") as failed:
        shell.run(["restic9", "version"])
    assert failed.value.hint == "install restic9 there"


def test_a_large_stream_both_ways(shell: SshShell) -> None:
    digest = hashlib.sha256()
    shell.run(["head", "-c", str(ZEROS), "/dev/zero"], on_data=digest.update)
    assert digest.hexdigest() == ZEROS_SHA
    assert shell.run(["sha256sum"], stdin=bytes(ZEROS)).text.split()[0] == ZEROS_SHA
    pieces = (bytes(1 << 20) for _ in range(ZEROS >> 20))
    assert shell.run(["sha256sum"], stdin=pieces).text.split()[0] == ZEROS_SHA


def test_a_new_key_exchange_in_mid_stream_breaks_nothing() -> None:
    with Lab(1, more="RekeyLimit 4M") as own:
        shell = connected(own)
        for _ in range(2):  # also where a command ends just then
            digest = hashlib.sha256()
            shell.run(["head", "-c", str(ZEROS), "/dev/zero"], on_data=digest.update)
            assert digest.hexdigest() == ZEROS_SHA


def test_lines(shell: SshShell) -> None:
    seen: list[bytes] = []
    shell.run(["printf", "one\ntwo\n\nlast"], on_line=seen.append)
    assert seen == [b"one", b"two", b"", b"last"]


def test_output_without_end_is_not_kept(lab: Lab, shell: SshShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsctl.shells.ssh.MOST_OUTPUT", 1 << 20)
    with pytest.raises(ProgramFailed, match="more than 1 MiB"):
        shell.run(["yes"])
    with pytest.raises(ProgramFailed, match="more than 1 MiB"):
        shell.run(["cat", "/dev/zero"], on_line=print)
    gone(lab, "yes")


def test_standard_error_without_end_holds_nobody_up(shell: SshShell) -> None:
    found = shell.run(["sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x >&2; echo done; echo last >&2"])
    assert found.stdout == b"done\n" and found.stderr.endswith(b"xlast\n") and len(found.stderr) <= 1 << 20


def test_what_is_not_read_is_not_sent(lab: Lab, shell: SshShell) -> None:
    with shell.open(["cat", "/dev/zero"]) as session:
        assert session.stdout.read(10) == bytes(10)
        (pid,) = [pid for pid, line in lab.processes("/dev/zero").items() if line.startswith("cat")]

        def written() -> int:
            return int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])

        def stands_still() -> bool:
            before = written()
            threading.Event().wait(0.3)
            return written() == before

        until(stands_still)
        assert written() < 8 << 20, "what the window holds (4 MiB), and pipes"
        assert session.stdout.read(20 << 20) == bytes(20 << 20)
        assert session.close(0.1).code == -15


def test_a_session_is_talked_with(shell: SshShell) -> None:
    with shell.open(["sh", "-c", "while read -r x; do echo got $x; done; echo bye; exit 4"]) as session:
        for word in (b"one", b"two"):
            session.stdin.write(word + b"\n")
            session.stdin.flush()
            assert session.stdout.readline() == b"got " + word + b"\n"
        result = session.close()
    assert (result.code, result.stdout) == (4, b"bye\n")


def test_standard_input_that_breaks_off_is_not_taken_for_whole(lab: Lab, shell: SshShell) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        until(lambda: "/tmp/half" in lab.files())  # or it may be stopped before it began
        raise ProgramFailed("the other end died")

    commit = ["sh", "-c", "cat >/tmp/half; echo whole >/tmp/whole"]
    with pytest.raises(ProgramFailed, match="the other end died"):
        shell.run(commit, stdin=pieces())
    until(lambda: not lab.processes("/tmp/half"))
    assert "/tmp/whole" not in lab.files()

    def cut() -> Iterator[bytes]:
        yield bytes(100_000)
        until(lambda: int(lab.run("stat", "-c", "%s", "/tmp/half")) == 100_000)
        lab.kill_sessions()
        yield b"more"

    with pytest.raises(Unreachable, match="was lost"):
        shell.run(commit, stdin=cut())
    until(lambda: not lab.processes("/tmp/half"))
    assert "/tmp/whole" not in lab.files()
    lab.run("rm", "-f", "/tmp/half")


def test_a_command_need_not_read_its_standard_input(shell: SshShell) -> None:
    assert shell.run(["true"], stdin=bytes(8 << 20)).code == 0
    assert shell.run(["head", "-c", "3"], stdin=b"abc" * 4_000_000).stdout == b"abc"
    assert shell.run(["cat"], stdin=b"").stdout == b""
    session = shell.open(["sh", "-c", "echo over; exit 6"])
    assert session.stdout.read() == b"over\n", "it ended by itself, though its standard input is open"
    assert session.close().code == 6


# what goes wrong on the way


def test_sshd_killed_in_mid_stream_is_a_lost_connection(lab: Lab, shell: SshShell) -> None:
    seen: list[int] = []

    def look(piece: bytes) -> None:
        seen.append(len(piece))
        if len(seen) == 5:
            lab.kill_sessions()

    with pytest.raises(Unreachable, match=r"the connection to h0 .* was lost"):
        shell.run(["sh", "-c", "cat /dev/zero"], on_data=look, accept=None)
    assert seen
    gone(lab, "cat /dev/zero")
    assert shell.run(["echo", "again"]).stdout == b"again\n", "the next command has a new connection"


def test_a_lost_connection_is_no_end_of_output_for_a_session(lab: Lab, shell: SshShell) -> None:
    session = shell.open(["sh", "-c", "echo one; sleep 4712"])
    assert session.stdout.readline() == b"one\n"
    lab.kill_sessions()
    with pytest.raises(Unreachable, match="was lost"):
        session.stdout.readline()
    with pytest.raises(Unreachable, match="was lost"):
        session.close()
    gone(lab, "sleep 4712")


def test_a_host_that_falls_silent_is_noticed_and_ends_the_command_itself() -> None:
    with Lab(1) as own:
        shell = connected(own, limits=Limits(connect=5, handshake=5, silence=1.6))
        assert shell.run(["sleep", "2.4"], timeout=20).code == 0, "silence of the command is no silence of the host"
        threading.Timer(0.3, own.mute, [0]).start()
        with pytest.raises(Unreachable, match=r"no sign of life|was lost"):
            shell.run(["sleep", "4713"])
        gone(own, "sleep 4713")


# sudo


def test_sudo_runs_what_it_may_and_says_which_line_is_missing(lab: Lab) -> None:
    shell = connected(lab, sudo=True)
    assert shell.run(["id", "-u"]).stdout == b"0\n"
    assert shell.plain().run(["id", "-u"]).stdout == b"2412\n"
    assert shell.run(["printenv", "SECRET"], env={"SECRET": "kept"}).stdout == b"kept\n"
    with pytest.raises(Refused) as caught:
        shell.run(["cat", "/etc/shadow"])
    assert caught.value.code == 12
    assert "ops ALL=(root) NOPASSWD: /usr/bin/cat" in (caught.value.hint or "")
    with pytest.raises(Refused), shell.open(["cat", "/etc/shadow"]) as session:
        session.close()


def test_what_sudo_started_is_ended_too(lab: Lab) -> None:
    shell = connected(lab, sudo=True)
    with pytest.raises(Unreachable, match=r"did not finish within 0\.5 seconds"):
        shell.run(["sleep", "4714"], timeout=0.5)
    gone(lab, "sleep 4714")


# how it ends


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_time_limit_ends_the_command_and_its_children(lab: Lab, shell: SshShell, stubborn: bool) -> None:
    ignore = "trap '' TERM HUP;" if stubborn else ""
    with pytest.raises(Unreachable, match=r"sh on h0 did not finish within 0\.3 seconds"):
        shell.run(["sh", "-c", f"{ignore} sleep 4715 & sleep 4715"], timeout=0.3)
    gone(lab, "sleep 4715")
    assert shell.connection.is_alive(), "other commands of the host go on"


def test_what_a_command_leaves_running_is_ended_with_it(lab: Lab, shell: SshShell) -> None:
    script = "sleep 4716 </dev/null >/dev/null 2>&1 & until grep -q 4716 /proc/$!/cmdline; do :; done; cat /proc/$!/cmdline"
    assert shell.run(["sh", "-c", script]).stdout == b"sleep\x004716\x00"
    gone(lab, "sleep 4716")


def test_stop_ends_commands_on_hosts(lab: Lab, shell: SshShell) -> None:
    timer = threading.Thread(target=lambda: (until(lambda: lab.processes("sleep 4717")), local.stop()))
    timer.start()
    with pytest.raises(Interrupted):
        shell.run(["sleep", "4717"])
    timer.join()
    gone(lab, "sleep 4717")
    with pytest.raises(Interrupted):
        shell.run(["true"])


def test_a_kill_of_this_process_ends_the_command_on_the_host(lab: Lab) -> None:
    target = lab.target()
    program = f"""
from pathlib import Path
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Login, Target
target = Target(name="h0", address={target.address!r}, user="ops", host_key={target.host_key!r},
                login=Login(Path({str(lab.place / "login")!r})))
SshShell(Connection(target, Keyring())).run(["sh", "-c", "sleep 4718; echo never"])
"""
    root = Path(__file__).parents[2]
    started = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root)})
    try:
        until(lambda: lab.processes("sleep 4718"))
        assert started.poll() is None, "it was not killed but ended"
    finally:
        started.kill()
        started.wait()
    gone(lab, "sleep 4718")


def test_nothing_is_left_on_the_host(lab: Lab) -> None:
    before = lab.files()
    shell = connected(lab, 4)
    shell.run(["sort"], stdin=b"b\na\n", env={"PASSWORD": "secret"})
    with pytest.raises(Unreachable):
        shell.run(["sleep", "4719"], timeout=0.3)
    with shell.open(["cat"]) as session:
        session.stdin.write(b"x")
    until(lambda: not lab.processes("4719"))
    assert lab.files() == before


def test_twenty_hosts_at_once_through_a_door_that_lets_few_stand(lab: Lab) -> None:
    keyring = Keyring()
    shells = [SshShell(Connection(lab.target(number), keyring)) for number in range(20)]
    found: dict[int, bytes] = {}

    def one(number: int) -> None:
        found[number] = shells[number].run(["sh", "-c", "cat; hostname >/dev/null"], stdin=b"x" * 2048).stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(20), b"x" * 2048)


def test_sshd_that_lets_few_stand_at_its_door_is_not_overrun() -> None:
    with Lab(1, more="MaxStartups 10:30:100") as own:
        target = own.target()
        failures: list[BaseException] = []

        def one() -> None:
            try:
                with Connection(dataclasses.replace(target), Keyring()) as connection:
                    SshShell(connection).run(["true"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=one) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_several_commands_of_one_host_at_once(lab: Lab, shell: SshShell) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda n=n: found.append(shell.run(["echo", str(n)]).stdout)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"{n}\n".encode() for n in range(8)]
