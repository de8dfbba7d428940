"""The sections `explore` and `pool: rattle`: what they say, and what is refused."""

import json

import pytest
from ase.build import bulk
from small_campaigns import small_config, write_labels

from mfal.campaign.config import CampaignConfig
from mfal.campaign.explore_config import ExploreConfig

EMT = {"code": "emt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder)
    bulk("Cu", "fcc", a=3.6, cubic=True).write(folder / "copper.xyz")
    return folder


def molecular(folder, explore, **changes):
    return small_config(folder, explore=explore, **changes)


def crystal(folder, explore=None, **changes):
    values = {
        "system": {"file": "copper.xyz"},
        "oracle": EMT,
        "pool": {"sampler": "rattle", "size": 16},
        "model": "sparse",
    }
    return small_config(folder, explore=explore, **{**values, **changes})


def test_campaigns_without_it_are_written_as_ever(folder):
    data = json.loads(small_config(folder).canonical_json())
    assert "explore" not in data
    assert set(data["pool"]) == {"sampler", "path", "size"}
    drawn = json.loads(
        small_config(folder, oracle=EMT, pool={"size": 16}).canonical_json()
    )
    assert set(drawn["pool"]) == {
        *("sampler", "path", "level", "size", "temperature", "timestep"),
        *("interval", "equilibration", "friction"),
    }


def test_nothing_after_the_key_is_no_exploration_and_an_empty_section_the_defaults(
    folder,
):
    assert molecular(folder, None).digest() == small_config(folder).digest()
    assert molecular(folder, {}).explore == ExploreConfig()
    assert molecular(folder, {}).digest() != small_config(folder).digest()


@pytest.mark.parametrize("kind", [molecular, crystal])
def test_what_is_written_into_the_store_gives_the_same_campaign(folder, kind):
    config = kind(folder, {"temperatures": [300, 900], "bias": 0.1})
    again = CampaignConfig.model_validate(
        json.loads(config.canonical_json()), context={"folder": folder}
    )
    assert again.digest() == config.digest()
    assert again.explore == config.explore


def test_one_temperature_needs_no_list(folder):
    assert molecular(folder, {"temperatures": 900}).explore.temperatures == (900.0,)


def test_thresholds_of_the_force_sigma_are_in_tolerances():
    section = ExploreConfig(monitor="force_sigma")
    assert section.thresholds(0.2) == pytest.approx((0.2, 1.0))
    assert ExploreConfig(monitor="force_sigma", soft=0.3).thresholds(0.2) == (0.3, 1.0)
    assert ExploreConfig().thresholds(0.2) == (2.0, 10.0)
    assert ExploreConfig(hard=4.0).thresholds(0.2) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("explore", "message"),
    [
        ({"temperatures": [300, -5]}, r"greater than 0.*-5"),
        ({"temperatures": 0}, "greater than 0"),
        ({"temperatures": []}, "temperatures"),
        ({"temperature": 300}, "did you mean 'temperatures'"),
        ({"pressure": 1.0}, "`pressure` needs `ensemble: npt`"),
        ({"steps": 10}, "interval of 20 is longer than a run of 10"),
        ({"soft": 12}, "soft threshold has to be below the hard one, got soft 12"),
        ({"monitor": "force_sigma", "soft": 2, "hard": 1}, "got soft 2 and hard 1"),
        ({"monitor": "force_sigma", "soft": 0.6}, r"explore.soft: .* 0\.6 eV/A"),
        ({"bias": -0.1}, "greater than or equal to 0"),
        ({"targets": 1.0}, "less than 1"),
        ({"ensemble": "npt"}, r"explore.ensemble: npt needs a system.*use nvt"),
        ({"ensemble": "nve"}, "'nvt' or 'npt'"),
        ({"monitor": "grade"}, "'extrapolation' or 'force_sigma'"),
        ({"runs": 0}, "greater than 0"),
    ],
)
def test_an_exploration_that_cannot_be_is_refused(folder, explore, message):
    with pytest.raises(ValueError, match=message):
        molecular(folder, explore)


def test_without_forces_at_the_highest_level_nothing_is_explored(folder):
    levels = [
        {"name": "low", "oracle": EMT},
        {"name": "high", "oracle": EMT, "quantities": ["energy"]},
    ]
    with pytest.raises(ValueError, match=r"explore: .*'high' gives no forces"):
        CampaignConfig.model_validate(
            {
                "system": {"molecule": "H2O"},
                "levels": levels,
                "budget": {"highest_labels": 30},
                "explore": {},
            }
        )


def test_cells_need_a_sparse_model(folder):
    with pytest.raises(ValueError, match=r"pool.sampler: the model 'exact'.*sparse"):
        crystal(folder, model="exact")
    pool = {"sampler": "file", "path": "pool.extxyz", "size": 16}
    with pytest.raises(ValueError, match=r"explore: the model 'exact'.*sparse"):
        crystal(folder, {}, model="exact", pool=pool)
    assert crystal(folder, {"ensemble": "npt", "pressure": 2}).explore.pressure == 2


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"strain": 0.02}, r"pool.strain: needs a system that is periodic"),
        ({"supercell": [2, 2, 2]}, r"pool.supercell: needs a system that is periodic"),
        ({"rattle": 0}, "greater than 0"),
        ({"strain": 1}, "less than 1"),
        ({"temperature": 300}, "`temperature` needs `sampler: md`"),
        ({"path": "pool.extxyz"}, "`path` needs `sampler: file`"),
    ],
)
def test_a_rattled_pool_that_cannot_be_is_refused(folder, pool, message):
    with pytest.raises(ValueError, match=message):
        small_config(folder, oracle=EMT, pool={"sampler": "rattle", "size": 16, **pool})


@pytest.mark.parametrize("key", ["rattle", "strain", "supercell"])
def test_keys_of_rattling_belong_to_it(folder, key):
    value = [2, 1, 1] if key == "supercell" else 0.1
    with pytest.raises(ValueError, match=f"`{key}` needs `sampler: rattle`"):
        small_config(folder, oracle=EMT, pool={"size": 16, key: value})


def test_the_start_of_a_rattled_campaign_is_the_supercell(folder):
    pool = {"sampler": "rattle", "size": 16, "supercell": [2, 1, 3]}
    assert len(crystal(folder, pool=pool).start()) == 24
    assert len(small_config(folder).start()) == 3
