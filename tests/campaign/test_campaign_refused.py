"""What cannot be run is refused in one line, before anything is written."""

import os
import sys

import ase.io
import pytest
from small_campaigns import run, small_config, water, write_labels

from mfal.campaign import CampaignLocked, ConfigError, campaign_results

BAD = {
    "an element that the method does not know": (
        {
            "levels": ("high",),
            "oracle": {"code": "emt"},
            "system": {"molecule": "SiH4"},
        },
        "EMT knows .*, not Si",
    ),
    "a package that is not there": (
        {"levels": ("high",), "oracle": {"code": "tblite", "method": "GFN2-xTB"}},
        "tblite is not installed: pip install",
    ),
    "an unknown option": (
        {"levels": ("high",), "oracle": {"code": "emt", "speed": 2}},
        "unknown option 'speed'",
    ),
    "a file that holds no such level": (
        {"levels": ("ccsd",)},
        "holds no level 'ccsd'",
    ),
    "too few geometries": (
        {"pool": {"sampler": "file", "path": "pool.extxyz", "size": 17}},
        "holds 16 structures, 17 are wanted",
    ),
    "another molecule": (
        {"system": {"molecule": "H2O2"}},
        "holds H2O, the system is H2O2",
    ),
    "a molecule whose atoms change their order": (
        {"pool": {"sampler": "file", "path": "mixed.extxyz", "size": 16}},
        r"structure 15 of .*mixed.extxyz: .*molecule OHH with its atoms in that order",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, case
):
    changes, message = BAD[case]
    write_labels(tmp_path)
    mixed = [water(i) for i in range(15)] + [water(15)[[1, 0, 2]]]
    ase.io.write(tmp_path / "mixed.extxyz", mixed)
    for module in ("tblite", "tblite.interface"):  # whether imported before or not
        monkeypatch.setitem(sys.modules, module, None)
    config = small_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "campaign")
    assert not (tmp_path / "campaign").exists()


def test_another_configuration_on_the_same_directory_is_refused(swept):
    folder = swept.config.folder
    before = (swept.directory / "results.json").read_text()
    other = small_config(folder, seed=1)
    with pytest.raises(
        ConfigError, match="with another configuration: give another --dir"
    ):
        run(other, swept.directory)
    assert (swept.directory / "results.json").read_text() == before


def test_a_second_driver_is_refused_while_the_first_one_runs(tmp_path):
    write_labels(tmp_path)
    config, refused = small_config(tmp_path, levels=("high",)), []

    def intrude(text):
        if text == "step 1: learning":
            with pytest.raises(CampaignLocked, match=f"process {os.getpid()}"):
                run(config, tmp_path / "campaign")
            refused.append(campaign_results(tmp_path / "campaign"))

    assert run(config, tmp_path / "campaign", progress=intrude)["finished"]
    assert refused[0]["n_labels"]["high"]["done"] == 3  # status works meanwhile
