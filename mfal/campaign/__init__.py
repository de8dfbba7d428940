"""Campaigns: what is asked, told, spent, learned, and when it stops."""

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
