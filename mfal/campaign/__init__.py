"""Campaigns: what is asked, told, spent, learned, and when it stops.

Names are imported when they are first used: `mfal fit` and `mfal evaluate` need the
schema of this room, not the acquisition functions and BoTorch below it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfal.campaign.campaign import Campaign
    from mfal.campaign.config import CampaignConfig, ConfigError, load_campaign
    from mfal.campaign.labelling import Paused, TooManyFailures
    from mfal.campaign.lock import CampaignLocked
    from mfal.campaign.run import campaign_results, run_campaign
    from mfal.campaign.store import CampaignStore

__all__ = [
    "Campaign",
    "CampaignConfig",
    "CampaignLocked",
    "CampaignStore",
    "ConfigError",
    "Paused",
    "TooManyFailures",
    "campaign_results",
    "load_campaign",
    "run_campaign",
]

_HOMES = {
    "Campaign": "campaign",
    "CampaignConfig": "config",
    "CampaignLocked": "lock",
    "CampaignStore": "store",
    "ConfigError": "sections",
    "Paused": "labelling",
    "TooManyFailures": "labelling",
    "campaign_results": "run",
    "load_campaign": "config",
    "run_campaign": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
