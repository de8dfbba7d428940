"""The verbs of campaigns: run, status, report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mfal.cli.application import app
from mfal.cli.output import progress_line, say, show_table


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

    with progress_line("starting", log=True) as tell:
        where, results = run_campaign(campaign, directory, progress=tell)
        tell("writing the report")
        page = write_report(results, where)
    say(f"{results.get('stopping_reason') or 'done'}; the report is {page}")


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="refresh until the campaign ends")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="between two looks of --watch")
    ] = 2.0,
) -> None:
    """What a campaign asked, was told, and spent; also while it runs."""
    from mfal.campaign import campaign_results
    from mfal.cli import standing

    if watch and as_json:
        raise ValueError("--json is of one moment: leave --watch out")
    if not every > 0:
        raise ValueError(f"--every is above 0 seconds, got {every}")
    if watch:
        from mfal.cli.watching import watch_campaign

        watch_campaign(directory, every)
        return
    results = campaign_results(directory, bought=as_json)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
        return
    show_table(standing.title(results), standing.level_rows(results))
    for sentence in standing.sentences(results):
        say(sentence)


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Rebuild the page and the figures of a campaign."""
    from mfal.campaign import campaign_results
    from mfal.report import write_report

    say(f"the report is {write_report(campaign_results(directory), directory)}")
