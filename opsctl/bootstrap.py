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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Run as a file, Python looks in opsctl/ first, where a module may be named like one of its own.
    sys.path[0] = str(CHECKOUT)

from opsctl import environments, kit_folder, programs, setup_machine
from opsctl.cli import doctor, render
from opsctl.errors import OpsError, UsageError

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
    packages = kit_folder.packages_of(kit) if kit is not None else None
    if kit is not None and packages is not None and os.geteuid() == 0:
        missing = programs.packages_for(programs.survey(purpose))
        if missing:
            kit_folder.install_packages(kit, missing, say)
    wheels = kit_folder.wheels_of(kit) if kit is not None else None
    if not venv_is_ready and environments.needs_venv_package(wheels):
        if sys.base_prefix != "/usr":
            raise environments.SetupFailed(f"this Python has no ensurepip: {sys.executable}")
        say("the module ensurepip is not installed (puts pip into .venv)")
        also.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    checks = doctor.run_doctor(fix=kit is None, purpose=purpose, say=say, also=also)
    wrong = [check for check in checks if not check.ok]
    if not wrong and not (also and environments.needs_venv_package(wheels)):
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
        environments.ensure(VENV, CHECKOUT, locks, kit_folder.wheels_of(kit) if kit is not None else None, say)
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


INSTALL = """\
Prepare this machine, as root: what a real one needs, and nothing is started.

  /opt/opsctl/releases/    the program with an environment of its own;
                           the release before stays
  /usr/local/bin/opsctl    the command
  /etc/opsctl, its keys    where the configuration goes (0750 and 0700)
  /var/lib/opsctl          the journal and the ledgers (0700)
  completion               for bash, zsh and fish
  systemd                  a service and an hourly timer, not enabled;
                           without systemd the line for cron is printed

Missing programs (restic, those of PostgreSQL) come through the system's
package manager. A second run changes nothing, a newer checkout upgrades.
Then `opsctl init` writes a first configuration."""
#: Each command: its line in the list, and its page where that says more.
COMMANDS = {
    "demo": ("set up, then show the whole story in a throw-away lab", "Its arguments go to `opsctl demo`."),
    "test": ("set up, then run the tests", "Its arguments go to pytest."),
    "setup": ("only set up .venv and the outside programs", ""),
    "install": ("prepare this machine: program, directories, completion, timer", INSTALL),
}


class Parser(argparse.ArgumentParser):
    """Wrong usage as the rest of opsctl says it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` says more")


def parser() -> "tuple[Parser, dict[str, Parser]]":
    """The whole parser, and those of the commands."""
    top = Parser(prog="bootstrap.py", description="Set opsctl up, then run it.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {}
    for name, (line, page) in COMMANDS.items():
        about = page if name == "install" else f"{line[0].upper()}{line[1:]}.\n{page}".strip()
        command = commands.add_parser(
            name,
            help=line,
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parsers[name] = command
        command.add_argument(
            "--offline", metavar="DIR", type=Path, help="install from an emergency kit, or a folder of wheels, without a network"
        )
        if name == "test":
            command.add_argument("--full", action="store_true", help="all repetitions")
        if name in ("setup", "install"):
            command.add_argument(
                "--for", dest="purpose", choices=("use", "demo", "test"), default="use",
                help="what the outside programs are for (use)",
            )
        if name == "install":
            command.add_argument(
                "--root", metavar="DIR", type=Path, default=Path("/"),
                help="install below DIR instead of /, for images; asks for no root",
            )
            command.add_argument(
                "--prefix", metavar="DIR", default="/opt/opsctl", help="where the program goes (/opt/opsctl)"
            )
            command.add_argument(
                "--user", metavar="NAME",
                help="run as this account, made if missing; it may read every file and nothing else that root may "
                "(root, or what an earlier run said)",
            )
    return top, parsers


def near(word: str, known: "Iterable[str]") -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def read(argv: Sequence[str]) -> "tuple[argparse.Namespace, list[str]]":
    """The options, and the words that go on to what is handed over to. Raises UsageError."""
    top, parsers = parser()
    word = argv[0] if argv else ""
    listed = f"one of {', '.join(COMMANDS)}"
    if not word:
        say(top.format_help())
        raise UsageError("which command?", hint=listed)
    if not word.startswith("-") and word not in COMMANDS:
        raise UsageError(f"there is no command {word!r}{near(word, COMMANDS)}", hint=listed)
    options, more = top.parse_known_args(argv)
    if options.command is None:
        raise UsageError(f"there is no option {word}", hint=f"first a command: {listed}")
    if more and options.command in ("setup", "install"):
        known = [option for action in parsers[options.command]._actions for option in action.option_strings]
        raise UsageError(
            f"{options.command} takes no {more[0]}{near(more[0], known)}",
            hint=f"`bootstrap.py {options.command} --help` says more",
        )
    return options, more


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code where nothing is handed over to."""
    options, more = read(argv)
    kit = options.offline.resolve() if options.offline else None
    if kit is not None and not kit.is_dir():
        raise UsageError(f"--offline {kit}: there is no such folder", hint="where is the kit mounted?")
    if kit is not None:
        kit_folder.refuse_damaged(kit)
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
        packages = kit_folder.packages_of(kit) if kit is not None else None
        missing = kit_folder.not_installed(packages) if packages is not None else []
        if kit is not None and missing:
            kit_folder.install_packages(kit, missing, say)
        complete = bring_programs(options.purpose, kit, venv_is_ready=False)
        if not complete and kit is None:
            raise NotReady
    wanted = setup_machine.Machine(root=root, prefix=options.prefix, user=options.user)
    setup_machine.install(wanted, CHECKOUT, kit_folder.wheels_of(kit) if kit is not None else None, say)
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
        for line in render.error_lines(failure):
            say(line)
        sys.exit(failure.code)
    except OSError as failure:
        say(str(failure))
        sys.exit(20)
    except KeyboardInterrupt:
        sys.exit(130)
