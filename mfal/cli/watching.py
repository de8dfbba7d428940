"""A live view of a campaign that another process drives."""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mfal.campaign import campaign_results
from mfal.campaign.lock import CampaignLock
from mfal.cli import standing
from mfal.cli.output import table_of


def watch_campaign(
    directory: Path,
    every: float,
    *,
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Refreshes the table until the campaign is finished or nobody drives it.

    Raises:
        ValueError: a directory without a campaign.
    """
    console = console or Console(highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            driven = is_driven(directory)  # before the look: the end is not missed
            results = campaign_results(directory, bought=False)
            live.update(
                Group(
                    table_of(standing.title(results), standing.level_rows(results)),
                    *(Text(sentence) for sentence in standing.sentences(results)),
                ),
                refresh=True,
            )
            if results["finished"] or not driven:
                return
            sleep(every)


def is_driven(directory: Path) -> bool:
    """Whether a process drives the campaign: whether its lock is held."""
    try:
        with CampaignLock(directory).path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
