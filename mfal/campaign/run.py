"""A campaign from its YAML file: run or resume it, and look at it from outside.

Who looks does not import what runs: `mfal status` answers at once.
"""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mfal.campaign.config import CampaignConfig, load_campaign
from mfal.campaign.document import results_document
from mfal.campaign.reader import StoreReader


def run_campaign(
    config_path: Path,
    directory: Path | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Runs the campaign of a YAML file, or resumes it if the directory holds it.

    The directory is `campaigns/NAME` unless one is given. Returns it with the results.

    Raises:
        ConfigError: a YAML file that is no campaign, or not the one in the directory.
        CampaignLocked: another process drives it.
        Paused: it was asked to stop, or waits for labels by hand; it can be resumed.
        TooManyFailures: more labels were given up than the configuration allows.
    """
    from mfal.campaign.campaign import Campaign

    config = load_campaign(config_path)
    where = Path("campaigns") / config.name if directory is None else directory
    return where, Campaign(config, where, progress=progress).run()


def campaign_results(directory: Path, *, bought: bool = True) -> dict[str, Any]:
    """The results of a campaign as they stand, also while it runs.

    `bought`: with the list of all labels that were bought, which can be long.

    Raises:
        ValueError: a directory without a campaign.
    """
    path = directory / "campaign.sqlite"
    if not path.exists():
        raise ValueError(
            f"{directory} holds no campaign: give the directory that `mfal run` wrote"
        )
    store = StoreReader(path, read_only=True)
    try:
        config = store.meta("config")
        if config is None:
            raise ValueError(f"the campaign in {directory} has not begun yet")
        about = {"folder": store.meta("folder"), "stored": True}
        known = CampaignConfig.model_validate(json.loads(config), context=about)
        with _without_collection():
            return results_document(known, store, bought=bought)
    finally:
        store.close()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's collector would look through 10^5 labels again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
