"""The verbs that help to begin: init, schema."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mfal.cli.application import app
from mfal.cli.output import say
from mfal.data.files import write_text
from mfal.data.outputs import check_writable


@app.command()
def init(
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="campaign file to write")
    ] = Path("campaign.yaml"),
    molecule: Annotated[
        str | None, typer.Option(help="a name of ase.build.molecule")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="extxyz file with one structure")
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(metavar="FILE", help="extxyz file of geometries")
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(metavar="LOW,...,HIGH", help="gfn2, pbe/def2-svp, gpaw-fine, ..."),
    ] = None,
) -> None:
    """Write a commented campaign file to start from. Asks nothing.

    Without options: ethanol at gfn2 and pbe/def2-svp-df; for a periodic structure the
    levels are gpaw-coarse and gpaw-fine. A level that is no known name is made by hand.
    """
    from mfal.cli.template import campaign_text
    from mfal.data import read_extxyz
    from mfal.data.frames import read_frames

    if output.exists():
        raise ValueError(f"{output} is there already: remove it or give another name")
    check_writable(output)
    if file is not None and molecule is not None:
        raise ValueError("give either --molecule or --file: leave one out")
    for path in (file, pool):
        if path is not None and not path.is_file():
            raise FileNotFoundError(2, "there is no such file", str(path))
    n_pool = 0 if pool is None else len(read_extxyz(pool, labels_required=False))
    periodic = file is not None and bool(next(read_frames(file)).atoms.pbc.any())
    default = "gpaw-coarse,gpaw-fine" if periodic else "gfn2,pbe/def2-svp-df"
    text = campaign_text(
        (levels or default).split(","),
        molecule=None if file else molecule or "CH3CH2OH",
        file=None if file is None else _beside(output, file),
        periodic=periodic,
        pool=None if pool is None else (_beside(output, pool), n_pool),
        name=output.stem,
        path=str(output),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)
    say(f"{output} is written: look through it, then `mfal run {output}`")


@app.command()
def schema() -> None:
    """Print the JSON schema of campaign files, for editors."""
    from mfal.cli.schema import campaign_schema

    typer.echo(json.dumps(campaign_schema(), indent=1))


def _beside(output: Path, path: Path) -> str:
    """A path as the campaign file has to name it: from its own folder."""
    return os.path.relpath(path.resolve(), output.parent.resolve())
