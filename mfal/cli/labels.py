"""The verbs of oracles: label, doctor."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from mfal.cli.application import app
from mfal.cli.errors import TOO_MANY_FAILURES
from mfal.cli.output import progress_line, say
from mfal.data.fidelity import Fidelity
from mfal.data.outputs import check_writable

Allow = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE,...", help="modules a YAML file may call factories of"
    ),
]
Name = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="gfn2, pbe/def2-svp, ... or a YAML file"),
]


@app.command()
def label(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="extxyz file")
    ] = None,
    oracle: Name = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="extxyz file to write")
    ] = None,
    level: Annotated[str | None, typer.Option(help="name of the level")] = None,
    workers: Annotated[int, typer.Option(help="processes")] = 1,
    timeout: Annotated[float | None, typer.Option(help="seconds per label")] = None,
    charge: int = 0,
    multiplicity: int = 1,
    density_fit: Annotated[bool, typer.Option("--density-fit")] = False,
    quantities: Annotated[
        str | None, typer.Option(metavar="energy,forces,stress")
    ] = None,
    allow: Allow = None,
    export_to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FOLDER", help="hand over to any queue or code"
        ),
    ] = None,
    import_from: Annotated[
        Path | None,
        typer.Option("--import", metavar="FOLDER", help="take results back from there"),
    ] = None,
) -> None:
    """Label structures with an oracle, or by hand by way of a folder.

    A killed run goes on when it is run again. With --export the structures are written
    for any code or queue (NAME may be any name); with --import their results are read
    (DATA and --oracle are then left out), as often as some are still missing.
    """
    wanted = None if quantities is None else tuple(quantities.split(","))
    if import_from is not None:
        given = {"DATA": data, "--oracle": oracle, "--export": export_to}
        _refuse(given, "--import reads the level and the structures from the folder")
        _take_back(import_from, _needed(output, "--output", "FILE"))
        return
    source, name = _needed(data, "", "DATA"), _needed(oracle, "--oracle", "NAME")
    if export_to is not None:
        _refuse({"--output": output}, "--export writes no labels")
        by_hand = None if name.endswith((".yaml", ".yml")) else name
        _hand_over(
            source,
            export_to,
            _level(name, level, density_fit, wanted, charge, multiplicity, allow)
            if by_hand is None or density_fit
            else _by_hand(by_hand, level, wanted, charge, multiplicity),
        )
        return
    fidelity = _level(name, level, density_fit, wanted, charge, multiplicity, allow)
    target = _needed(output, "--output", "FILE")
    _label(source, target, fidelity, workers, timeout, allow)


@app.command()
def doctor(
    oracle: Annotated[str, typer.Argument(metavar="ORACLE")],
    structure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what to examine it on")
    ] = None,
    charge: int = 0,
    multiplicity: int = 1,
    allow: Allow = None,
) -> None:
    """Compare an oracle's forces with finite differences of its energies."""
    from mfal.data.frames import read_frames
    from mfal.oracles import examine
    from mfal.oracles.naming import example_structure

    fidelity = _level(oracle, None, False, None, charge, multiplicity, allow)
    if structure is None:
        atoms = example_structure(fidelity)
    else:
        atoms = next(iter(read_frames(structure))).atoms
    with progress_line(f"examining {fidelity.name}"):
        examination = examine(fidelity, atoms, allowed_modules=_allowed(allow))
    say(examination.verdict)
    if not examination.passed:
        raise ValueError(
            f"{oracle} is refused: {examination.failures[0]}: mend it before it labels"
        )


def _label(
    data: Path,
    output: Path,
    fidelity: Fidelity,
    workers: int,
    timeout: float | None,
    allow: str | None,
) -> None:
    from mfal.data import read_extxyz, write_extxyz
    from mfal.oracles.sweep import label_structures

    spool = output.with_name(f"{output.name}.spool")
    check_writable(output)
    if output.exists() and not spool.exists():
        raise ValueError(f"{output} is there already: remove it or give another name")
    structures = read_extxyz(data, labels_required=False).structures
    total = len(structures)
    with progress_line(f"labelling {total} structures at {fidelity.name}") as tell:
        done = label_structures(
            structures,
            fidelity,
            spool,
            n_workers=workers,
            timeout=timeout,
            allowed_modules=_allowed(allow),
            on_result=lambda n: tell(f"{fidelity.name}: {n} of {total} labels"),
        )
    if done.labels:
        write_extxyz(output, done.dataset())
    say(f"{done.summary}: {output if done.labels else 'nothing is written'}")
    if not done.failures:
        shutil.rmtree(spool, ignore_errors=True)
        return
    for i, error in done.failures.items():
        say(f"structure {i} failed, {error.kind}: {error.message}")
    say("run the same command again to try these again")
    raise typer.Exit(TOO_MANY_FAILURES)


def _hand_over(data: Path, folder: Path, fidelity: Fidelity) -> None:
    from mfal.data import read_extxyz, structure_key
    from mfal.oracles import hand_over

    check_writable(folder / "manifest.json")
    structures = read_extxyz(data, labels_required=False).structures
    width = max(4, len(str(len(structures))))
    names = [f"{i:0{width}d}-{structure_key(a)[:8]}" for i, a in enumerate(structures)]
    batch = hand_over(folder, fidelity, dict(zip(names, structures, strict=True)))
    say(
        f"{len(batch.keys)} structures for {fidelity.name} "
        f"({', '.join(fidelity.quantities)}; charge {fidelity.charge}, multiplicity "
        f"{fidelity.multiplicity}) are in {folder}: manifest.json says what to put "
        f"there; then `mfal label --import {folder} --output FILE`"
    )


def _take_back(folder: Path, output: Path) -> None:
    from mfal.data import write_extxyz
    from mfal.oracles import take_back
    from mfal.oracles.handover import merged, read_batch

    check_writable(output)
    returned = take_back(read_batch(folder))
    dataset, n_new = merged(returned, output)
    if n_new:
        write_extxyz(output, dataset)
    what = (
        f"{output} holds {len(dataset)} ({n_new} new)" if len(dataset) else "no label"
    )
    say(f"{returned.summary}: {what}")
    for refusal in returned.refused.values():
        say(f"refused, {refusal}")
    for name in returned.missing:
        say(f"missing, {name}")
    if returned.missing or returned.refused:
        say("run the same command again when more is there")
    if returned.refused:
        raise typer.Exit(TOO_MANY_FAILURES)


def _level(
    oracle: str,
    name: str | None,
    density_fit: bool,
    quantities: tuple[str, ...] | None,
    charge: int,
    multiplicity: int,
    allow: str | None,
) -> Fidelity:
    """The level of an oracle given by its short name or by a YAML file."""
    from mfal.oracles.naming import level_of, named_specification

    settings: tuple[Any, ...] = (quantities, charge, multiplicity, _allowed(allow))
    if oracle.endswith((".yaml", ".yml")):
        from mfal.campaign.sections import read_yaml

        return level_of(name or Path(oracle).stem, read_yaml(oracle), *settings)
    specification = named_specification(oracle, density_fit=density_fit)
    return level_of(name or oracle.strip().lower(), specification, *settings)


def _by_hand(
    oracle: str,
    name: str | None,
    quantities: tuple[str, ...] | None,
    charge: int,
    multiplicity: int,
) -> Fidelity:
    """The level of any name, for a method that is run elsewhere."""
    from dataclasses import replace

    from mfal.oracles.naming import named_level

    fidelity = named_level(oracle, quantities, charge, multiplicity)
    return replace(fidelity, name=name or fidelity.name)


def _allowed(allow: str | None) -> tuple[str, ...]:
    from mfal.oracles import ALLOWED_MODULES

    return (*ALLOWED_MODULES, *(allow.split(",") if allow else ()))


def _needed(value: Any, option: str, word: str) -> Any:
    if value is None:
        what = f"{option} {word}".strip()
        raise ValueError(f"{what} is missing: add it (see `mfal label --help`)")
    return value


def _refuse(given: dict[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{reason}: leave {name} out")
