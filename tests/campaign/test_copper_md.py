"""The campaign that learns copper on the fly: its file, and what exploring is worth."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from small_campaigns import run

from mfal.calculators.exploring import Ensemble
from mfal.campaign import CampaignStore, load_campaign
from mfal.campaign.explore_config import ExploreConfig
from mfal.models.storage import load_potential

FILE = Path(__file__).parents[2] / "tutorials" / "campaigns" / "copper_md.yaml"


def test_the_file_names_every_key_of_explore():
    text = FILE.read_text()
    section = text[text.index("\nexplore:") :]
    missing = [
        k for k in ExploreConfig.model_fields if not re.search(rf"\b{k}:", section)
    ]
    assert missing == []


def test_it_starts_from_the_repeated_cube():
    config = load_campaign(FILE)
    assert len(config.start()) == 32
    assert config.explore.ensemble == "npt"
    assert max(config.explore.temperatures) == 1200


def hot_snapshots(atoms, n=6):
    """Structures of EMT dynamics at 1200 K and no pressure, with their forces."""
    moving = atoms.copy()
    moving.calc = EMT()
    ensemble = Ensemble(1200.0, pressure=0.0, timestep=4.0)
    dynamics = ensemble.dynamics(moving, np.random.default_rng(5))
    dynamics.run(300)
    found = []
    for _ in range(n):
        dynamics.run(40)
        found.append((moving.copy(), moving.get_forces()))
    return found


@pytest.mark.slow
def test_what_it_explored_is_bought_and_hot_structures_are_known_better(tmp_path):
    config = load_campaign(FILE)
    small = {"steps": 40, "runs": 2, "temperatures": (1200.0,)}
    explore = config.explore.model_copy(update=small)
    budget = config.budget.model_copy(update={"cost": 110.0})
    pool = config.pool.model_copy(update={"size": 24})
    tests, errors = hot_snapshots(config.start()), {}
    for name, section in (("pool", None), ("explore", explore)):
        changed = config.model_copy(
            update={
                "explore": section,
                "budget": budget,
                "pool": pool,
                "validation": 0,
                "targets": 5,
            }
        )
        run(changed, tmp_path / name)
        model = load_potential(tmp_path / name / "model")
        found = model.mean([a for a, _ in tests])
        off = [p.forces - forces for p, (_, forces) in zip(found, tests, strict=True)]
        errors[name] = np.sqrt(np.mean(np.square(off)))
    with CampaignStore(
        tmp_path / "explore" / "campaign.sqlite", read_only=True
    ) as store:
        bought = [x for x in store.labels(state="done") if x.structure_id >= 24]
    assert bought
    assert errors["explore"] < 0.8 * errors["pool"]
