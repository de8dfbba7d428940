"""`mfal init` and `mfal schema`: files to start from, and the rules for editors."""

import json
import os
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import bulk, molecule
from command_line import command, refused

from mfal.campaign import load_campaign
from mfal.oracles import build_oracle

METHANOL = Path(__file__).parent / "files" / "methanol_gfn2_mp2.extxyz"
TUTORIALS = Path(__file__).parents[1] / "tutorials" / "campaigns"


@pytest.fixture
def mfal(tmp_path, monkeypatch):
    """Runs the command line in a folder with a molecule, a crystal and a pool."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("water.xyz", molecule("H2O"), format="extxyz")
    ase.io.write("copper.extxyz", bulk("Cu", cubic=True))
    Path("data").mkdir()
    Path("data/pool.extxyz").write_text(METHANOL.read_text())
    return command


OPTIONS = {
    "nothing": ((), ["gfn2", "pbe"], "CH3CH2OH"),
    "a molecule": (("--molecule", "CH3OH"), ["gfn2", "pbe"], "CH3OH"),
    "levels": (
        ("--levels", "gfn1,pbe/def2-svp,pbe/def2-tzvp"),
        ["gfn1", "pbe/def2-svp", "pbe/def2-tzvp"],
        "CH3CH2OH",
    ),
    "one level": (("--levels", "hf/sto-3g"), ["hf"], "CH3CH2OH"),
    "energies": (
        ("--levels", "gfn2,ccsd(t)/def2-svp"),
        ["gfn2", "ccsd(t)"],
        "CH3CH2OH",
    ),
    "a file": (("--file", "water.xyz"), ["gfn2", "pbe"], None),
    "a crystal": (("--file", "copper.extxyz"), ["gpaw-coarse", "gpaw-fine"], None),
    "a crystal, EMT": (("--file", "copper.extxyz", "--levels", "emt"), ["emt"], None),
    "by hand": (("--levels", "gfn2,VASP PBE"), ["gfn2", "vasp pbe"], "CH3CH2OH"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_what_init_writes_can_be_run(mfal, option):
    words, levels, name = OPTIONS[option]
    result = mfal("init", *words)
    assert result.exit_code == 0, result.output
    config = load_campaign("campaign.yaml")
    assert [level.name for level in config.levels] == levels
    assert config.system.molecule == name
    for fidelity in config.fidelities():
        build_oracle(fidelity)
    text = Path("campaign.yaml").read_text()
    assert "mace.calculators:mace_mp" in text
    assert text.count("#") > 30


def test_a_pool_and_another_folder_are_named_from_where_the_file_is(mfal):
    words = ("--output", "new/c.yaml", "--pool", "data/pool.extxyz")
    molecule_words = ("--molecule", "CH3OH", "--levels", "gfn2,mp2/def2-svp")
    refused(mfal("init", *words[:3], "none.extxyz"), "none.extxyz")
    # every structure stands twice in the file, once per level, and counts once
    result = mfal("init", *words, *molecule_words)
    assert result.exit_code == 0, result.output
    config = load_campaign("new/c.yaml")
    assert config.pool.path.resolve() == Path("data/pool.extxyz").resolve()
    assert (config.pool.size, config.targets, config.validation) == (24, 4, 4)
    assert config.name == "c"


def test_levels_by_hand_have_declared_costs_and_no_dynamics(mfal):
    assert mfal("init", "--levels", "my code").exit_code == 0
    config = load_campaign("campaign.yaml")
    assert config.budget.costs == {"my code": 1.0}
    assert config.pool.sampler == "rattle"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--molecule", "H2O", "--file", "water.xyz"), "either --molecule or --file"),
        (("--file", "none.xyz"), "none.xyz"),
        (("--levels", "gnf2"), "did you mean 'gfn2'"),
        (("--levels", "gfn2,gfn2"), "'gfn2' twice"),
        (("--file", "copper.extxyz", "--levels", "hf/sto-3g"), "does not run periodic"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(mfal, words, said):
    before = sorted(os.listdir())
    refused(mfal("init", *words), said)
    assert sorted(os.listdir()) == before


def test_a_file_that_is_there_is_left_alone(mfal):
    Path("campaign.yaml").write_text("mine")
    refused(mfal("init"), "is there already")
    assert Path("campaign.yaml").read_text() == "mine"


@pytest.fixture
def schema(mfal):
    return json.loads(mfal("schema").stdout)


def test_the_schema_is_one_and_accepts_every_file_that_mfal_accepts(mfal, schema):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    texts = [path.read_text() for path in TUTORIALS.glob("*.yaml")]
    for words, *_ in OPTIONS.values():
        Path("campaign.yaml").unlink(missing_ok=True)
        mfal("init", *words)
        texts.append(Path("campaign.yaml").read_text())
    for text in texts:
        campaign = yaml.safe_load(text)
        jsonschema.validate(campaign, schema)
        for short in ({"model": "sparse"}, {"stopping": {"ece": 0.05}}):
            jsonschema.validate({**campaign, **short}, schema)


@pytest.mark.parametrize(
    "wrong",
    [{"levls": []}, {"seed": "x"}, {"budget": {"cost": -1}}, {"model": "magic"}],
)
def test_the_schema_refuses_what_mfal_refuses(mfal, schema, wrong):
    jsonschema = pytest.importorskip("jsonschema")
    mfal("init")
    campaign = {**yaml.safe_load(Path("campaign.yaml").read_text()), **wrong}
    Path("wrong.yaml").write_text(yaml.safe_dump(campaign))
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load_campaign("wrong.yaml")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(campaign, schema)
