"""``opsctl --help`` and ``--version`` beside the smallest typer program that has both."""

from __future__ import annotations

from tests.bench.bench import Bench, environment
from tests.bench.measure import cpu, opsctl, python, run, turns, wall
from tests.bench.table import Row, compare

_BARE = '''"""One command."""

import typer

app = typer.Typer(add_completion=False)


def show(wanted: bool) -> None:
    if wanted:
        typer.echo("bare 1.0")
        raise typer.Exit()


@app.command()
def main(name: str, version: bool = typer.Option(False, "--version", callback=show, is_eager=True)) -> None:
    """Say hello."""
    typer.echo(f"hello {name}")


if __name__ == "__main__":
    app()
'''
# What typer shows help with where rich is installed costs more than the rest of it. Ours goes without.
_PLAIN = _BARE.replace("add_completion=False", "add_completion=False, rich_markup_mode=None")


def rows(bench: Bench) -> list[Row]:
    place = bench.place("start")
    programs = {name: place / f"{name}.py" for name in ("bare", "plain")}
    programs["bare"].write_text(_BARE)
    programs["plain"].write_text(_PLAIN)
    env = environment(bench.bare_machine(place / "m"))
    found = []
    for option in ("--help", "--version"):
        took = turns(
            bench.rounds(25),
            ours=lambda: run(opsctl(option), env=env),  # noqa: B023 - called before the next turn of the loop
            bare=lambda: run(python(str(programs["bare"]), option), env=env),  # noqa: B023
            plain=lambda: run(python(str(programs["plain"]), option), env=env),  # noqa: B023
        )
        found += [
            compare(
                f"opsctl {option}",
                wall(took["ours"]),
                wall(took["bare"]),
                at_most=1.3,
                beside="bare typer program",
            ),
            compare(f"opsctl {option}, processor", cpu(took["ours"]), cpu(took["bare"])),
            compare(
                f"opsctl {option}",
                wall(took["ours"]),
                wall(took["plain"]),
                at_most=1.3,
                beside="the same without rich",
            ),
        ]
    return found
