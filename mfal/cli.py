"""The command line: one verb per question, and one place for exit codes.

0 done; 2 bad input; 3 paused and resumable; 4 stopped for too many failures; 1 a fault
of mfal itself. Heavy libraries are imported by the verbs that need them.
"""

import json
import logging
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from mfal.data.files import write_text
from mfal.data.outputs import check_writable

DONE, FAULT, BAD_INPUT, PAUSED, TOO_MANY_FAILURES = 0, 1, 2, 3, 4

EXIT_CODES = {  # by the nearest class of an error that is named here
    **dict.fromkeys(("Stopped", "Paused", "StoreWriteError"), PAUSED),
    "TooManyFailures": TOO_MANY_FAILURES,
    **dict.fromkeys(("CampaignLocked", "OracleError", "SamplingError"), BAD_INPUT),
    **dict.fromkeys(("ValueError", "TypeError", "ArithmeticError"), BAD_INPUT),
    "MemoryError": BAD_INPUT,  # refused before it started, see `TooLargeError`
    **dict.fromkeys(("FileNotFoundError", "FileExistsError"), BAD_INPUT),
    **dict.fromkeys(("IsADirectoryError", "NotADirectoryError"), BAD_INPUT),
    "PermissionError": BAD_INPUT,
    "OSError": PAUSED,  # the disk is full, or gone
    "Exception": FAULT,
}


class Stopped(BaseException):
    """SIGTERM or SIGINT came."""


class Verbs(TyperGroup):
    """The verbs; an error becomes one line on stderr and an exit code."""

    def main(
        self, args: Sequence[str] | None = None, *_: Any, **settings: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        verbose = "--verbose" in words
        words = [word for word in words if word != "--verbose"]
        settings |= {"standalone_mode": False, "prog_name": "mfal"}
        try:
            with _signals_stop():
                front = ["--verbose"] if verbose else []
                code = super().main([*front, *words], **settings)
        except (Exception, Stopped) as error:
            if verbose:
                traceback.print_exc()
            code, line = verdict(error)
            sys.stderr.write(f"mfal: {line}\n")
        sys.exit(code or DONE)


def verdict(error: BaseException) -> tuple[int, str]:
    """The exit code of an error and what is said of it, in one line."""
    if hasattr(error, "format_message"):  # of the words on the command line
        context = getattr(error, "ctx", None)
        where = f" (see `{context.command_path} --help`)" if context else ""
        return BAD_INPUT, " ".join(error.format_message().split()) + where
    names = [kind.__name__ for kind in type(error).__mro__]
    code = next(EXIT_CODES[name] for name in names if name in EXIT_CODES)
    text = " ".join(str(error).split()) or names[0]
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
        text += ": check the path" if code == BAD_INPUT else ""
    if code == PAUSED:
        text += "; what was finished is kept: run the same command again to go on"
    if code == FAULT:
        text = f"a fault of mfal, {names[0]}: {text} (--verbose shows where)"
    return code, text


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-fidelity active learning of interatomic potentials.",
)
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="also write numbers here")
]


@app.callback()
def common(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="show tracebacks and the log")
    ] = False,
) -> None:
    """Multi-fidelity active learning of interatomic potentials."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


@app.command()
def run(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml")],
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="where it lives, resumed if it is there"),
    ] = None,
) -> None:
    """Start a campaign, or resume the one in the directory."""
    from mfal.campaign import run_campaign
    from mfal.report import write_report

    with _status("starting", log=True) as tell:
        where, results = run_campaign(campaign, directory, progress=tell)
        tell("writing the report")
        page = write_report(results, where)
    _say(f"{results.get('stopping_reason') or 'done'}; the report is {page}")


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """What a campaign asked, was told, and spent; also while it runs."""
    from mfal.campaign import campaign_results

    results = campaign_results(directory)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
        return
    budget, counts = results["budget"], results["n_labels"]
    states = sorted({state for found in counts.values() for state in found})
    total = "?" if budget["total"] is None else f"{budget['total']:.4g}"
    _table(
        f"{results['name']}: spent {budget['spent']:.4g} of {total} {budget['unit']}",
        [["level", *states]]
        + [[n, *(str(found.get(s, 0)) for s in states)] for n, found in counts.items()],
    )
    for left in results["levels_left"]:
        _say(f"step {left['step']}: {left['sentence']}")
    for name, number in results["events"].items():
        _say(f"{name}: {number}")
    reason = results["stopping_reason"] or "done"
    _say(reason if results["finished"] else "not finished: `mfal run` resumes it")


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Rebuild the page and the figures of a campaign."""
    from mfal.campaign import campaign_results
    from mfal.report import write_report

    _say(f"the report is {write_report(campaign_results(directory), directory)}")


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
    with _status("reading") as tell:
        dataset = read_training_data(settings, data or [])
        tell(f"fitting {len(dataset.labels)} labels of {', '.join(dataset.levels)}")
        potential, record = fit_potential(dataset, settings, tell)
        save_potential(potential, output)
    _write_json(json_file, record)
    title = f"{output}: fitted in {record['seconds']['total']:.1f} s"
    _table(title, summary_table(record))
    for line in summary_lines(record):
        _say(line)


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
    with _status("loading"):
        potential = load_potential(model)
        potential.level_index(level)
        only = potential.levels[0] if len(potential.levels) == 1 else None
        dataset = read_labels(settings, data or [], level or only)
        result = assess(potential, dataset, level, at_hand)
    _write_json(json_file, result)
    mode = "standalone" if at_hand is None else f"with {at_hand} at hand"
    title = f"{result['level']}, {mode}: {result['n_structures']} structures"
    _table(title, summary_table(result))
    for line in summary_lines(result):
        _say(line)


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
    with _status("exporting"):
        levels = export_metatomic(load_potential(model), output)
    size = output.stat().st_size / 1e6
    _say(f"{output}: {size:.1f} MB with the outputs {', '.join(levels)}")


@app.command()
def label(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="extxyz file")],
    oracle: Annotated[
        str, typer.Option(metavar="NAME", help="gfn2, pbe/def2-svp, ... or a YAML file")
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="extxyz file to write")],
    level: Annotated[str | None, typer.Option(help="name of the level")] = None,
    workers: Annotated[int, typer.Option(help="processes")] = 1,
    timeout: Annotated[float | None, typer.Option(help="seconds per label")] = None,
    charge: int = 0,
    multiplicity: int = 1,
    density_fit: Annotated[bool, typer.Option("--density-fit")] = False,
    quantities: Annotated[
        str | None, typer.Option(metavar="energy,forces,stress")
    ] = None,
) -> None:
    """Label structures with an oracle. A killed run goes on when it is run again."""
    from mfal.data import read_extxyz, write_extxyz
    from mfal.oracles.sweep import label_structures

    spool = output.with_name(f"{output.name}.spool")
    check_writable(output)
    if output.exists() and not spool.exists():
        raise ValueError(f"{output} is there already: remove it or give another name")
    wanted = None if quantities is None else tuple(quantities.split(","))
    fidelity = _level(oracle, level, density_fit, wanted, charge, multiplicity)
    structures = read_extxyz(data, labels_required=False).structures
    total = len(structures)
    with _status(f"labelling {total} structures at {fidelity.name}") as tell:
        done = label_structures(
            structures,
            fidelity,
            spool,
            n_workers=workers,
            timeout=timeout,
            on_result=lambda n: tell(f"{fidelity.name}: {n} of {total} labels"),
        )
    if done.labels:
        write_extxyz(output, done.dataset())
    _say(f"{done.summary}: {output if done.labels else 'nothing is written'}")
    if not done.failures:
        shutil.rmtree(spool, ignore_errors=True)
        return
    for i, error in done.failures.items():
        _say(f"structure {i} failed, {error.kind}: {error.message}")
    _say("run the same command again to try these again")
    raise typer.Exit(TOO_MANY_FAILURES)


@app.command()
def doctor(
    oracle: Annotated[str, typer.Argument(metavar="ORACLE")],
    structure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what to examine it on")
    ] = None,
    charge: int = 0,
    multiplicity: int = 1,
) -> None:
    """Compare an oracle's forces with finite differences of its energies."""
    from mfal.data.frames import read_frames
    from mfal.oracles import examine
    from mfal.oracles.naming import example_structure

    fidelity = _level(oracle, None, False, None, charge, multiplicity)
    if structure is None:
        atoms = example_structure(fidelity)
    else:
        atoms = next(iter(read_frames(structure))).atoms
    with _status(f"examining {fidelity.name}"):
        examination = examine(fidelity, atoms)
    _say(examination.verdict)
    if not examination.passed:
        raise ValueError(
            f"{oracle} is refused: {examination.failures[0]}: mend it before it labels"
        )


def main() -> None:
    """The entry point of `mfal`."""
    app()


def _level(oracle: str, name: str | None, density_fit: bool, *settings: Any) -> Any:
    """The level of an oracle given by its short name or by a YAML file."""
    from mfal.oracles.naming import level_of, named_specification

    if oracle.endswith((".yaml", ".yml")):
        from mfal.campaign.sections import read_yaml

        return level_of(name or Path(oracle).stem, read_yaml(oracle), *settings)
    specification = named_specification(oracle, density_fit=density_fit)
    return level_of(name or oracle.strip().lower(), specification, *settings)


def _write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(values, indent=1) + "\n")


def _say(text: str) -> None:
    Console(highlight=False, markup=False).print(text, soft_wrap=True)


def _table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """A table whose first row holds the heads; never narrower than its content."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    width = max(Console().width, 100)
    Console(highlight=False, markup=False, width=width).print(table)


@contextmanager
def _status(first: str, *, log: bool = False) -> Iterator[Callable[[str], None]]:
    """A line that says what goes on; with `log`, off a terminal, a line for each phase."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:

        def say(text: str) -> None:
            if log and not text.endswith((" labels", " geometries")):
                console.print(text, soft_wrap=True)

        yield say
        return
    with console.status(first) as line:
        yield line.update


@contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGTERM and SIGINT end the verb as an error does: workers end, files are whole."""

    def stop(number: int, _: object) -> NoReturn:
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
