"""From a bare machine to a running opsctl: sets up `.venv` and the outside programs, then hands over.

Standard library only, and nothing newer than Python 3.6's syntax in this file, so that an old Python can read
it far enough to say that it is too old.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "opsctl needs Python 3.11 or newer; this is Python "
        f"{sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})\n"
    )
    sys.exit(3)

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Run as a file, Python looks in opsctl/ first, where a module may be named like one of its own.
    sys.path[0] = str(CHECKOUT)

from opsctl import environments, setup_machine
from opsctl.cli import doctor
from opsctl.errors import OpsError

RUNTIME = CHECKOUT / "configs" / "requirements.lock"
TESTING = CHECKOUT / "configs" / "requirements-test.lock"
VENV = CHECKOUT / ".venv"


class NotReady(Exception):
    """Something is missing that needs a person; it has been said what."""


def say(line: str) -> None:
    """Progress goes to standard error: standard output belongs to what is handed over to."""
    print(line, file=sys.stderr, flush=True)


def bring_programs(purpose: str, kit: "Path | None", venv_is_ready: bool) -> bool:
    """Check the outside programs, install what is missing if we may. True if all are there then."""
    also = []
    if not venv_is_ready and environments.needs_venv_package(kit):
        if sys.base_prefix != "/usr":
            raise environments.SetupFailed(f"this Python has no ensurepip: {sys.executable}")
        say("the module ensurepip is not installed (puts pip into .venv)")
        also.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    checks = doctor.run_doctor(fix=kit is None, purpose=purpose, say=say, also=also)
    wrong = [check for check in checks if not check.ok]
    if not wrong and not (also and environments.needs_venv_package(kit)):
        return True
    if os.geteuid() == 0 and kit is None:
        for check in wrong:
            say(f"still not right: {check.detail}")
    else:
        say("then run this command again")
    return False


def set_up(purpose: str, kit: "Path | None") -> Path:
    """Make this checkout ready for `purpose`; returns the Python to run. A second call does nothing."""
    locks = [RUNTIME, TESTING] if purpose == "test" else [RUNTIME]
    complete = bring_programs(purpose, kit, environments.is_ready(VENV, CHECKOUT, locks))
    if complete or kit is not None:
        # In an emergency without a network half a set-up is worth having.
        environments.ensure(VENV, CHECKOUT, locks, kit, say)
    if not complete:
        raise NotReady
    return environments.python_of(VENV)


def test_command(python: Path, full: bool, more: Sequence[str]) -> "list[str]":
    """The argv that runs the tests: two at a time, without the long repetitions unless `full`."""
    chosen = [] if full else ["-m", "not full"]
    return [str(python), "-m", "pytest", "-n", "2", "--dist", "loadgroup", *chosen, *more]


def demo_command(python: Path, more: Sequence[str]) -> "list[str]":
    # -P: what lies in the current folder must not be taken for a module.
    return [str(python), "-P", "-m", "opsctl", "demo", *more]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="bootstrap.py", description="Set opsctl up, then run it.", allow_abbrev=False
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in (
        ("demo", "set up, then show the whole story in a throw-away lab (arguments go to `opsctl demo`)"),
        ("test", "set up, then run the tests (arguments go to pytest)"),
        ("setup", "only set up .venv and the outside programs"),
        ("install", "prepare this machine: /opt/opsctl, directories, completion, timer"),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        command.add_argument(
            "--offline", metavar="DIR", type=Path, help="install from the wheels in DIR only"
        )
        if name == "test":
            command.add_argument("--full", action="store_true", help="all repetitions")
        if name == "setup":
            command.add_argument("--for", dest="purpose", choices=("use", "demo", "test"), default="use")
        if name == "install":
            command.add_argument(
                "--root", metavar="DIR", type=Path, default=Path("/"), help="install below DIR"
            )
            command.add_argument(
                "--prefix", metavar="DIR", default="/opt/opsctl", help="where the program goes"
            )
            command.add_argument(
                "--user", metavar="NAME", help="run as this account, made if missing (default: root)"
            )
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code where nothing is handed over to."""
    top = parser()
    options, more = top.parse_known_args(argv)
    if more and options.command in ("setup", "install"):
        top.error(f"unknown arguments: {' '.join(more)}")
    kit = options.offline.resolve() if options.offline else None
    if kit is not None and not kit.is_dir():
        top.error(f"{kit} is no folder")
    if options.command == "install":
        return _install(options, kit)
    if options.command == "setup":
        set_up(options.purpose, kit)
        say(f"ready: {VENV / 'bin' / 'opsctl'}")
        return 0
    python = set_up(options.command, kit)
    if options.command == "demo":
        command = demo_command(python, more)
    else:
        command = test_command(python, options.full, more)
        os.chdir(str(CHECKOUT))
        # Started in the background, a shell leaves SIGINT ignored, and so would every program under test.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if options.full:
            os.environ["OPSCTL_TEST_FULL"] = "1"
    sys.stdout.flush()
    os.execv(command[0], command)


def _install(options: argparse.Namespace, kit: "Path | None") -> int:
    root = options.root.resolve()
    complete = True
    if root == Path("/"):
        if os.geteuid() != 0:
            say(
                f"install prepares the whole machine and needs root: sudo {sys.executable} {__file__} install"
            )
            return 3
        complete = bring_programs("use", kit, venv_is_ready=False)
        if not complete and kit is None:
            raise NotReady
    wanted = setup_machine.Machine(root=root, prefix=options.prefix, user=options.user)
    setup_machine.install(wanted, CHECKOUT, kit, say)
    return 0 if complete else 3


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NotReady:
        sys.exit(3)
    except environments.SetupFailed as failure:
        say(str(failure))
        sys.exit(20)
    except OpsError as failure:
        say(failure.message)
        if failure.hint:
            say(failure.hint)
        sys.exit(failure.code)
    except OSError as failure:
        say(str(failure))
        sys.exit(20)
    except KeyboardInterrupt:
        sys.exit(130)
