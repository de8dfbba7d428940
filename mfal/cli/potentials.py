"""The verbs of potentials: fit, evaluate, export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mfal.cli.application import app
from mfal.cli.output import JsonFile, progress_line, say, show_table, write_json
from mfal.data.outputs import check_writable


@app.command()
def fit(
    output: Annotated[Path, typer.Option(metavar="MODEL", help="directory to save to")],
    data: Annotated[list[Path] | None, typer.Argument(metavar="DATA...")] = None,
    levels: Annotated[
        str | None, typer.Option(metavar="LOW,...,HIGH", help="levels, low to high")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="level of frames that name none")
    ] = None,
    model: Annotated[str, typer.Option(metavar="exact|sparse|linear|auto")] = "auto",
    config: Annotated[Path | None, typer.Option(metavar="FIT.yaml")] = None,
    json_file: JsonFile = None,
) -> None:
    """Fit a potential to labelled extxyz files of one or more levels."""
    if model not in ("exact", "sparse", "linear", "auto"):
        raise ValueError(
            f"--model is exact, sparse, linear or auto, got {model!r}: leave the option "
            "out"
        )
    check_writable(output, json_file)
    if output.is_file():
        raise ValueError(f"a model is a directory, but {output} is a file: rename it")
    from mfal.campaign.fit import fit_potential, summary_lines, summary_table
    from mfal.campaign.fit_config import FitConfig, check_levels, read_training_data
    from mfal.campaign.sections import read_section
    from mfal.models.storage import save_potential

    settings = FitConfig() if config is None else read_section(config, FitConfig)
    given: dict[str, Any] = {} if level is None else {"level": level}
    if levels is not None:
        given["levels"] = tuple(name.strip() for name in levels.split(","))
        check_levels(given["levels"])
    if model != "auto":
        given["kind"] = model
    settings = settings.model_copy(update=given)
    with progress_line("reading") as tell:
        dataset = read_training_data(settings, data or [])
        tell(f"fitting {len(dataset.labels)} labels of {', '.join(dataset.levels)}")
        potential, record = fit_potential(dataset, settings, tell)
        save_potential(potential, output)
    write_json(json_file, record)
    title = f"{output}: fitted in {record['seconds']['total']:.1f} s"
    show_table(title, summary_table(record))
    for line in summary_lines(record):
        say(line)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    data: Annotated[list[Path] | None, typer.Argument(metavar="DATA...")] = None,
    level: Annotated[
        str | None, typer.Option(help="the level to judge at (the highest)")
    ] = None,
    at_hand: Annotated[
        str | None, typer.Option(metavar="LOWER", help="condition on labels of LOWER")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FIT.yaml")] = None,
    json_file: JsonFile = None,
) -> None:
    """Errors and calibration of a potential on labelled extxyz files."""
    check_writable(json_file)
    from mfal.calculators.assessment import assess, summary_lines, summary_table
    from mfal.campaign.fit_config import FitConfig, read_labels
    from mfal.campaign.sections import read_section
    from mfal.models.storage import load_potential

    settings = FitConfig() if config is None else read_section(config, FitConfig)
    with progress_line("loading"):
        potential = load_potential(model)
        potential.level_index(level)
        only = potential.levels[0] if len(potential.levels) == 1 else None
        dataset = read_labels(settings, data or [], level or only)
        result = assess(potential, dataset, level, at_hand)
    write_json(json_file, result)
    mode = "standalone" if at_hand is None else f"with {at_hand} at hand"
    title = f"{result['level']}, {mode}: {result['n_structures']} structures"
    show_table(title, summary_table(result))
    for line in summary_lines(result):
        say(line)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    output: Annotated[Path, typer.Option(metavar="FILE.pt", help="file to write")],
) -> None:
    """Write a potential as a metatomic model, for LAMMPS, i-PI and other engines."""
    check_writable(output)
    if output.is_dir():
        raise ValueError(f"{output} is a directory: name a file, e.g. {output}.pt")
    from mfal.calculators.metatomic import check_engines, export_metatomic
    from mfal.models.storage import load_potential

    check_engines()
    with progress_line("exporting"):
        levels = export_metatomic(load_potential(model), output)
    size = output.stat().st_size / 1e6
    say(f"{output}: {size:.1f} MB with the outputs {', '.join(levels)}")
