"""A campaign that learns with the sparse engine."""

import pytest
from small_campaigns import run, small_config, write_labels

from mfal.campaign import campaign_results
from mfal.campaign.engines import SparseEngine
from mfal.models.sparse import SparsePotential
from mfal.models.storage import load_potential

SMALL = {
    "kind": "sparse",
    "sparse": {
        "n_inducing": 24,
        "zeta": 2,
        "cutoffs": [3.5],
        "max_radial": 3,
        "max_angular": 2,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparse")
    write_labels(folder)
    config = small_config(folder, model=SMALL)
    return config, run(config, folder / "campaign"), folder / "campaign"


def test_it_ends_with_errors_in_both_ways_of_deployment(finished):
    _, results, directory = finished
    assert results["finished"]
    assert results["model"]["kind"] == "sparse"
    assert results["n_labels"]["high"]["done"] > 3 + 3  # more than pilot and held-out
    errors = results["evaluation"]
    assert errors["at_hand"]["forces"]["mae"] < errors["standalone"]["forces"]["mae"]
    assert results["learning_curve"][-1]["loo"]["forces_mae"] > 0
    assert (directory / "results.json").exists()
    assert campaign_results(directory)["model"]["rho"] == results["model"]["rho"]


def test_the_saved_model_is_a_sparse_one(finished):
    config, results, directory = finished
    model = load_potential(directory / "model")
    assert isinstance(model, SparsePotential)
    atoms = config.system.atoms()
    assert model.predict([atoms])[0].forces.shape == (3, 3)
    assert model.hyperparameters.rho.tolist() == results["rho"]


def test_a_model_built_again_from_its_record_is_the_same(finished):
    config, _, directory = finished
    saved = load_potential(directory / "model")
    engine = SparseEngine(config.model.sparse, config.seed)
    atoms = config.system.atoms()
    again = engine.rebuild(_data(config, directory), engine.record(saved))
    one, other = (m.predict([atoms], calibrated=False)[0] for m in (saved, again))
    assert other.energy == pytest.approx(one.energy, abs=1e-6)


def _data(config, directory):
    from mfal.campaign.store import CampaignStore

    store = CampaignStore(directory / "campaign.sqlite")
    try:
        return store.dataset(config.fidelities(), up_to_step=10**6)[0]
    finally:
        store.close()


def test_the_kind_of_the_model_alone_is_enough(tmp_path):
    write_labels(tmp_path)
    assert small_config(tmp_path, model="sparse").model.kind == "sparse"
    with pytest.raises(ValueError, match="sprase"):
        small_config(tmp_path, model="sprase")
