"""The command line itself, to which the verbs are added."""

import logging
from typing import Annotated

import typer

from mfal.cli.errors import Verbs

app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-fidelity active learning of interatomic potentials.",
)


@app.callback()
def common(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="show tracebacks and the log")
    ] = False,
) -> None:
    """Multi-fidelity active learning of interatomic potentials."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
