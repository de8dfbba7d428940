"""The JSON schema of campaign files, by which editors complete and check them."""

from typing import Any

from mfal.campaign.config import CampaignConfig


def campaign_schema() -> dict[str, Any]:
    """The schema of `CampaignConfig`, with the short forms that its files may use.

    Rules between keys (e.g. that exactly one kind of budget is given) are told by
    `mfal run` only.
    """
    schema = CampaignConfig.model_json_schema()
    properties = schema["properties"]
    stopping = properties["stopping"]
    properties["stopping"] = _either(stopping, stopping["items"])
    kinds = schema["$defs"]["ModelConfig"]["properties"]["kind"]["enum"]
    properties["model"] = _either(properties["model"], {"enum": kinds})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A campaign of mfal",
    }


def _either(form: dict[str, Any], short: dict[str, Any]) -> dict[str, Any]:
    """A value in its full form, or a short one."""
    about = {k: v for k, v in form.items() if k in ("default", "description")}
    full = {k: v for k, v in form.items() if k not in about}
    return {**about, "anyOf": [full, short]}
