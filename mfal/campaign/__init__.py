"""Campaigns: what is asked, told, spent, learned, and when it stops.

Names are imported when they are first used: `mfal fit` and `mfal evaluate` need the
schema of this room, not the acquisition functions and BoTorch below it.
"""

from typing import TYPE_CHECKING

from mfal.lazy import lazy

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

__getattr__ = lazy(
    __name__,
    {
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
    },
)
