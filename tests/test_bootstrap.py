"""The set-up: what a second run leaves alone, what a real machine gets, and the files that others rely on."""

from __future__ import annotations

import ast
import base64
import ensurepip
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsctl import __version__, bootstrap, environments, setup_machine
from opsctl.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-test.lock")


def wheel(folder: Path, name: str, text: str) -> str:
    """Make a wheel of one module in `folder`; returns its line for a lock file."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{file},sha256={digest},{len(content)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@dataclass(frozen=True)
class Kit:
    """What an environment is made from without a network: wheels, pip's own among them, and lock files."""

    wheels: Path
    runtime: Path
    testing: Path

    @property
    def venv(self) -> Path:
        return self.wheels.parent / ".venv"


def make_kit(folder: Path) -> Kit:
    kit = Kit(folder / "wheels", folder / LOCKS[0], folder / LOCKS[1])
    kit.wheels.mkdir()
    places = [Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")]
    shutil.copy(next(found for place in places for found in place.glob("pip-*.whl")), kit.wheels)
    runtime = wheel(kit.wheels, "runtimepart", "SAYS = 'runtime'\n")
    kit.runtime.write_text(runtime, "utf-8")
    kit.testing.write_text(runtime + wheel(kit.wheels, "testpart", "SAYS = 'test'\n"), "utf-8")
    return kit


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit and the environment made from it, for the tests of the group below, in their order."""
    kit = make_kit(tmp_path_factory.mktemp("made"))
    said: list[str] = []
    assert environments.ensure(kit.venv, CHECKOUT, [kit.runtime], kit.wheels, said.append) is True
    assert len(said) == 1 and "setting up" in said[0]
    return kit


def says(venv: Path, code: str) -> str:
    argv = [str(environments.python_of(venv)), "-P", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=plain()).stdout.strip()


def plain() -> dict[str, str]:
    """The environment without what would let the Python that runs the tests show through."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below `folder` with mode, time of change and inode: equal only when nothing was touched."""
    return {
        str(file.relative_to(folder)): (seen.st_mode, seen.st_mtime_ns, seen.st_ino)
        for file in sorted(folder.rglob("*"))
        if "__pycache__" not in file.parts
        for seen in [file.lstat()]
    }


# --- .venv -------------------------------------------------------------------------------------------------


ONE_ENVIRONMENT = pytest.mark.xdist_group("one-environment")


@ONE_ENVIRONMENT
def test_a_second_set_up_does_nothing(made: Kit) -> None:
    assert says(made.venv, "import runtimepart; print(runtimepart.SAYS)") == "runtime"
    assert says(made.venv, "import opsctl; print(opsctl.__file__)") == str(
        CHECKOUT / "opsctl" / "__init__.py"
    )
    before = snapshot(made.venv)
    said: list[str] = []
    assert environments.ensure(made.venv, CHECKOUT, [made.runtime], made.wheels, said.append) is False
    assert snapshot(made.venv) == before and said == []


@ONE_ENVIRONMENT
def test_an_environment_counts_only_as_long_as_all_it_was_made_from_is_so(made: Kit, tmp_path: Path) -> None:
    def ready(code: Path = CHECKOUT) -> bool:
        return environments.is_ready(made.venv, code, [made.runtime])

    assert ready()
    assert not ready(code=tmp_path), "the checkout was moved"
    python = environments.python_of(made.venv)
    target = os.readlink(python)
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert not ready(), "the Python it was made from is gone"
    python.unlink()
    python.symlink_to(target)
    stamp = made.venv / environments.STAMP
    text = stamp.read_text("utf-8")
    for broken in ("", "[]", text[: len(text) // 2]):
        stamp.write_text(broken, "utf-8")
        assert not ready(), "the set-up was killed half-way"
    stamp.write_text(text, "utf-8")
    assert ready()


@ONE_ENVIRONMENT
def test_the_tests_needs_are_added_and_the_smaller_need_is_then_met_too(made: Kit) -> None:
    inode = (made.venv / "pyvenv.cfg").stat().st_ino
    both = [made.runtime, made.testing]
    assert environments.ensure(made.venv, CHECKOUT, both, made.wheels, [].append) is True
    assert says(made.venv, "import testpart; print(testpart.SAYS)") == "test"
    assert (made.venv / "pyvenv.cfg").stat().st_ino == inode
    assert environments.ensure(made.venv, CHECKOUT, [made.runtime], made.wheels, [].append) is False


@ONE_ENVIRONMENT
def test_a_changed_lock_makes_the_environment_afresh(made: Kit) -> None:
    (made.venv / "left-over").touch()
    made.runtime.write_text(wheel(made.wheels, "another", "SAYS = 'another'\n"), "utf-8")
    assert environments.ensure(made.venv, CHECKOUT, [made.runtime], made.wheels, [].append) is True
    assert says(made.venv, "import another; print(another.SAYS)") == "another"
    assert says(made.venv, "import importlib.util as u; print(u.find_spec('runtimepart'))") == "None"
    assert not (made.venv / "left-over").exists()


def test_a_folder_that_is_no_environment_is_not_deleted(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    kit.venv.mkdir()
    (kit.venv / "letters.txt").write_text("mine", "utf-8")
    with pytest.raises(environments.SetupFailed, match="move it away"):
        environments.ensure(kit.venv, CHECKOUT, [kit.runtime], kit.wheels, [].append)
    assert (kit.venv / "letters.txt").read_text("utf-8") == "mine"


def test_a_wheel_that_is_not_the_locked_one_is_refused_and_shown(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    wheel(kit.wheels, "runtimepart", "SAYS = 'replaced by somebody'\n")
    with pytest.raises(
        environments.SetupFailed, match=r"(?s)pip.* install .*--require-hashes.*MATCH.*sha256"
    ):
        environments.ensure(kit.venv, CHECKOUT, [kit.runtime], kit.wheels, [].append)
    assert not environments.is_ready(kit.venv, CHECKOUT, [kit.runtime])


@pytest.mark.parametrize("folder", ["short", "with space", "long" * 40])
def test_the_launcher_works_wherever_it_lies(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    (place / "opsctl").mkdir(parents=True)
    (place / "python").symlink_to(sys.executable)
    (place / "opsctl" / "__init__.py").touch()
    (place / "opsctl" / "cli.py").write_text("import sys\n\ndef main():\n    return len(sys.argv)\n", "utf-8")
    environments.put_launcher(place / "run", place / "python", "-B")
    assert subprocess.run([str(place / "run"), "a b", "c"], check=False).returncode == 3


# --- bootstrap.py ------------------------------------------------------------------------------------------


def test_an_old_python_is_refused_in_one_line(tmp_path: Path) -> None:
    """The real file, run by this Python made to say that it is an older one."""
    code = "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); runpy.run_path(sys.argv[1])"
    argv = [sys.executable, "-c", code, str(CHECKOUT / "opsctl" / "bootstrap.py")]
    refused = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=plain(), check=False)
    assert refused.returncode == 3
    assert refused.stderr == f"opsctl needs Python 3.11 or newer; this is Python 3.9 ({sys.executable})\n"


def test_an_old_python_can_read_the_file_that_refuses_it() -> None:
    source = (CHECKOUT / "opsctl" / "bootstrap.py").read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    judged = next(at for at, node in enumerate(tree.body) if isinstance(node, ast.If))
    imported = [node for node in tree.body[:judged] if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in imported for alias in node.names] == ["sys"]


def test_the_set_up_needs_only_the_standard_library(tmp_path: Path) -> None:
    """-S leaves out site-packages; a folder full of traps stands where it is run."""
    (tmp_path / "argparse.py").write_text("raise SystemExit('the current folder was imported from')", "utf-8")
    argv = [sys.executable, "-S", str(CHECKOUT / "opsctl" / "bootstrap.py"), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=plain(), check=False)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("demo", "test", "setup", "install"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["setup", "--no-such"], "setup takes no --no-such"),
        (["install", "extra"], "install takes no extra"),
        (["install", "--pefix", "/x"], "install takes no --pefix; did you mean --prefix?"),
        (["dmo"], "there is no command 'dmo'; did you mean demo?"),
        (["xyzzy"], "there is no command 'xyzzy'"),
        (["--full"], "there is no option --full"),
        (["setup", "--for", "fun"], "argument --for: invalid choice: 'fun'"),
        ([], "which command?"),
        (["demo", "--offline", "/no/such/folder"], "--offline /no/such/folder: there is no such folder"),
    ],
)
def test_wrong_usage_is_2(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        bootstrap.main(argv)
    assert refused.value.message.startswith(message) and refused.value.hint
    assert ("did you mean" in refused.value.message) == ("did you mean" in message)


def test_wrong_usage_reads_like_the_rest_of_opsctl() -> None:
    argv = [sys.executable, str(CHECKOUT / "opsctl" / "bootstrap.py"), "instal"]
    done = subprocess.run(argv, capture_output=True, text=True, env=plain(), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "opsctl: there is no command 'instal'; did you mean install?",
        "  hint: one of demo, test, setup, install",
    ]


@pytest.mark.parametrize("command", sorted(bootstrap.COMMANDS))
def test_each_command_explains_every_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, parsers = bootstrap.parser()
    assert all(action.help for action in parsers[command]._actions)
    assert max(map(len, parsers[command].format_help().splitlines())) <= 80


def test_the_tests_run_two_at_a_time_and_without_the_long_repetitions() -> None:
    python = Path("/x/python")
    common = ["/x/python", "-m", "pytest", "-n", "2", "--dist", "loadgroup"]
    assert bootstrap.test_command(python, False, ["-k", "journal"]) == [
        *common,
        "-m",
        "not full",
        "-k",
        "journal",
    ]
    assert bootstrap.test_command(python, True, []) == common


def as_an_ordinary_user(argv: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return argv
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--", *argv]


def python_for_everyone() -> str:
    """This Python, or the system's where this one lies in a folder that only root may enter."""
    tried = subprocess.run(as_an_ordinary_user([sys.executable, "-c", ""]), capture_output=True, check=False)
    return "/usr/bin/python3" if tried.returncode else sys.executable


def test_an_ordinary_user_is_told_that_install_needs_root(server_place: Path) -> None:
    copied = server_place / "bootstrap" / "opsctl"
    shutil.copytree(CHECKOUT / "opsctl", copied, ignore=shutil.ignore_patterns("__pycache__"))
    python, script = python_for_everyone(), str(copied / "bootstrap.py")
    argv = as_an_ordinary_user([python, script, "install"])
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", env=plain(), check=False)
    assert done.returncode == 3, done.stderr
    said = f"install prepares the whole machine and needs root: sudo {python} {script} install\n"
    assert done.stderr == said


# --- install -----------------------------------------------------------------------------------------------


def light_environment(release: Path) -> None:
    """A real environment that borrows this one's packages, so that the test downloads nothing."""
    environments.run([sys.executable, "-m", "venv", "--without-pip", str(release / "venv")])
    site = next((release / "venv" / "lib").glob("python3.*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join([str(release), *borrowed]) + "\n", "utf-8")


@pytest.fixture
def machine(tmp_path: Path) -> setup_machine.Machine:
    root = tmp_path / "machine"
    (root / "etc/systemd/system").mkdir(parents=True)
    return setup_machine.Machine(root=root)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout, which nobody else changes meanwhile."""
    copy = tmp_path / "checkout"
    for name in setup_machine.COPIED:
        setup_machine._copy(CHECKOUT / name, copy / name)
    return copy


def put(machine: setup_machine.Machine, checkout: Path) -> list[str]:
    """Install, and return what was said."""
    said: list[str] = []
    before = os.umask(0o077)
    try:
        setup_machine.install(machine, checkout, None, said.append, build=light_environment)
    finally:
        os.umask(before)
    return said


def test_install_below_a_root_twice_the_second_changes_nothing(
    machine: setup_machine.Machine, checkout: Path
) -> None:
    said = put(machine, checkout)
    root = machine.root
    modes = {
        path: mode(root / path) for path in ("etc/opsctl", "etc/opsctl/keys", "var/lib/opsctl", "run/opsctl")
    }
    assert modes == {
        "etc/opsctl": 0o750,
        "etc/opsctl/keys": 0o700,
        "var/lib/opsctl": 0o700,
        "run/opsctl": 0o700,
    }
    command = root / "usr/local/bin/opsctl"
    assert subprocess.run(
        [str(command), "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    release = root / "opt/opsctl/current"
    assert mode(release.resolve()) == 0o755
    where = says(release / "venv", "import opsctl; print(opsctl.__file__)")
    assert Path(where).is_relative_to(root / "opt/opsctl/releases")
    playbooks = sorted(file.name for file in (CHECKOUT / "playbooks").glob("*.yaml"))
    assert sorted(file.name for file in (release / "playbooks").glob("*.yaml")) == playbooks
    assert not any("no completion" in line for line in said)
    for shell, path in setup_machine.COMPLETION.items():
        assert "_OPSCTL_COMPLETE" in (root / path).read_text("utf-8"), shell
    service = (root / "etc/systemd/system/opsctl-backup.service").read_text("utf-8")
    assert "ExecStart=/usr/local/bin/opsctl backup run --due\n" in service and "User=" not in service
    assert "OnCalendar=hourly" in (root / "etc/systemd/system/opsctl-backup.timer").read_text("utf-8")
    assert not list(root.rglob("*.wants")), "nothing may be enabled"
    assert any("systemctl enable --now opsctl-backup.timer" in line for line in said)

    before = snapshot(root)
    again = put(machine, checkout)
    assert again[0] == "nothing changed: everything is as it should be"
    assert snapshot(root) == before


def test_install_puts_right_what_was_changed_and_says_only_that(
    machine: setup_machine.Machine, checkout: Path
) -> None:
    put(machine, checkout)
    (machine.root / "var/lib/opsctl").chmod(0o755)
    (machine.root / "etc/systemd/system/opsctl-backup.timer").write_text("[Timer]\n", "utf-8")
    changes = [line for line in put(machine, checkout) if not line.startswith(("nothing was", "next:"))]
    assert changes == [
        f"{machine.root}/var/lib/opsctl has mode 0700 again",
        f"wrote {machine.root}/etc/systemd/system/opsctl-backup.timer",
    ]
    assert mode(machine.root / "var/lib/opsctl") == 0o700


def test_a_newer_checkout_replaces_the_program_and_keeps_the_one_before(
    machine: setup_machine.Machine, checkout: Path
) -> None:
    current = machine.root / "opt/opsctl/current"
    releases = []
    for change in range(3):
        (checkout / "opsctl" / "changed.py").write_text(f"CHANGE = {change}\n", "utf-8")
        put(machine, checkout)
        releases.append(current.resolve())
        assert says(current / "venv", "import opsctl.changed as c; print(c.CHANGE)") == str(change)
    assert len(set(releases)) == 3
    assert sorted((machine.root / "opt/opsctl/releases").iterdir()) == sorted(releases[1:])


def test_an_install_that_was_killed_half_way_is_finished_by_the_next(
    machine: setup_machine.Machine, checkout: Path
) -> None:
    def killed(release: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup_machine.install(machine, checkout, None, [].append, build=killed)
    assert not (machine.root / "usr/local/bin/opsctl").exists()
    put(machine, checkout)
    assert (machine.root / "usr/local/bin/opsctl").exists()


def test_another_account_and_no_systemd(tmp_path: Path, checkout: Path) -> None:
    said = put(setup_machine.Machine(root=tmp_path / "plain", user="backup"), checkout)
    line = "17 * * * * backup /usr/local/bin/opsctl backup run --due"
    assert any(each.endswith(f"put this line into /etc/cron.d/opsctl: {line}") for each in said)
    assert not (tmp_path / "plain/etc/cron.d").exists()
    with_systemd = setup_machine.Machine(root=tmp_path / "systemd", user="backup")
    (with_systemd.root / "etc/systemd/system").mkdir(parents=True)
    put(with_systemd, checkout)
    service = (with_systemd.root / "etc/systemd/system/opsctl-backup.service").read_text("utf-8")
    assert "User=backup\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n" in service
    assert (with_systemd.root / "etc/tmpfiles.d/opsctl.conf").read_text("utf-8") == (
        "d /run/opsctl 0700 backup backup -\n"
    )


@pytest.mark.full
def test_install_with_the_locked_packages(machine: setup_machine.Machine, checkout: Path) -> None:
    argv = [sys.executable, str(checkout / "opsctl/bootstrap.py"), "install", "--root", str(machine.root)]
    first = subprocess.run(argv, capture_output=True, text=True, env=plain(), check=True)
    assert "installed opsctl" in first.stderr
    command = str(machine.root / "usr/local/bin/opsctl")
    assert subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    before = snapshot(machine.root)
    second = subprocess.run(argv, capture_output=True, text=True, env=plain(), check=True)
    assert "nothing changed" in second.stderr and snapshot(machine.root) == before


# --- files that others rely on -----------------------------------------------------------------------------


def pins(lock: str) -> dict[str, str]:
    text = (CHECKOUT / "configs" / lock).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-z0-9-]", each)[0] for each in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_place_to_come_from(lock: str) -> None:
    text = (CHECKOUT / "configs" / lock).read_text("utf-8")
    assert len(pins(lock)) > 5
    for entry in re.findall(r"^[a-z0-9].*(?:\n[ ].*)*", text, re.MULTILINE):
        assert re.match(r"[a-z0-9-]+==[^\s]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    # No index, no link, no path of the machine it was made on: where packages come from is a setting.
    assert not re.findall(r"://|^-[-a-z]|@ |\.(?:org|com|io|net)\b|(?:^|\s)/\w+", text, re.MULTILINE)


def test_the_tests_lock_holds_all_that_the_runtime_lock_does() -> None:
    assert pins(LOCKS[0]).items() <= pins(LOCKS[1]).items()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    assert names_of(project["dependencies"]) <= set(pins(LOCKS[0]))
    assert names_of(project["optional-dependencies"]["test"]) <= set(pins(LOCKS[1])) - set(pins(LOCKS[0]))
    assert project["version"] == __version__


def test_every_package_of_the_source_is_in_the_wheel() -> None:
    listed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {file.parent for file in (CHECKOUT / "opsctl").rglob("*.py")}
    found = sorted(".".join(folder.relative_to(CHECKOUT).parts) for folder in folders)
    assert sorted(listed) == sorted([*found, "opsctl.playbooks_data"])


def test_ci_runs_what_everybody_runs() -> None:
    lines = (CHECKOUT / ".ci" / "run").read_text("utf-8").splitlines()
    assert lines[0].endswith("bash")
    assert [line for line in lines if line and not line.startswith("#")] == [
        "set -eu",
        'cd "$(dirname "$0")/.."',
        "python3 opsctl/bootstrap.py test",
    ]


def test_the_licence_is_the_whole_apache_2() -> None:
    text = (CHECKOUT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
