"""A campaign file is taken as it is meant, or refused in one line with the remedy."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfal.campaign.config import CampaignConfig, ConfigError, load_campaign
from mfal.data import Fidelity

DEMO = Path(__file__).parents[2] / "tutorials" / "campaigns" / "ethanol.yaml"
SHORTEST = """\
system: {molecule: CH3CH2OH}
levels:
  - {name: gfn2, oracle: {code: tblite, method: GFN2-xTB}}
  - name: pbe
    oracle: {code: pyscf, method: PBE, basis: def2-SVP, density_fit: true}
budget: {highest_labels: 40}
"""
OH = "2\n\nO 0 0 0\nH 0 0 0.97\n"


@pytest.fixture
def campaign(tmp_path):
    """Loads a campaign from text; structures stand beside it."""

    def load(text, name="ethanol.yaml"):
        (tmp_path / name).write_text(text)
        return load_campaign(tmp_path / name)

    (tmp_path / "oh.xyz").write_text(OH)
    (tmp_path / "two.xyz").write_text(OH + OH.replace("0.97", "0.98"))
    (tmp_path / "broken.xyz").write_text(OH.replace("0.97", "nan"))
    (tmp_path / "near.xyz").write_text(OH.replace("0.97", "0.1"))
    return load


def replaced(old, new, text=None):
    text = DEMO.read_text() if text is None else text
    assert old in text
    return text.replace(old, new, 1)


# --- what is taken -----------------------------------------------------------------


def test_the_demo_states_the_defaults(campaign):
    demo = load_campaign(DEMO)
    assert demo.canonical_json() == campaign(SHORTEST).canonical_json()
    assert demo.fidelities() == (
        Fidelity("gfn2", {"code": "tblite", "method": "GFN2-xTB"}),
        Fidelity(
            "pbe",
            {
                "code": "pyscf",
                "method": "PBE",
                "basis": "def2-SVP",
                "density_fit": True,
            },
        ),
    )
    assert (demo.n_candidates, demo.pilot, demo.pool.level) == (320, 8, "gfn2")
    assert demo.acquisition.tolerance.energy == 0.02


def test_every_key_of_the_schema_is_shown_or_named_in_the_demo():
    text = DEMO.read_text()

    def keys(section):
        for name, field in section.model_fields.items():
            yield name
            inner = (*get_args(field.annotation), field.annotation)[0]
            if hasattr(inner, "model_fields"):
                yield from keys(inner)

    missing = [key for key in keys(CampaignConfig) if not re.search(rf"\b{key}:", text)]
    assert missing == []


def test_a_campaign_without_a_name_has_that_of_its_file(campaign):
    assert campaign(SHORTEST, "methanol.yaml").name == "methanol"


def test_charge_and_multiplicity_belong_to_every_level(campaign):
    text = replaced(
        "{molecule: CH3CH2OH}", "{file: oh.xyz, charge: -1, multiplicity: 1}", SHORTEST
    )
    assert {(f.charge, f.multiplicity) for f in campaign(text).fidelities()} == {
        (-1, 1)
    }


def test_files_are_found_from_the_folder_of_the_campaign(
    campaign, tmp_path, monkeypatch
):
    text = replaced("molecule: CH3CH2OH", "file: oh.xyz, multiplicity: 2", SHORTEST)
    text = replaced(
        "{code: tblite, method: GFN2-xTB}",
        "{code: replay, path: two.xyz, level: pbe}",
        text,
    )
    text += "pool: {sampler: file, path: two.xyz}\n"
    config = campaign(text)
    monkeypatch.chdir("/")
    assert config.system.atoms().get_chemical_symbols() == ["O", "H"]
    assert config.pool.path == tmp_path / "two.xyz"
    assert config.fidelities()[0].oracle["path"] == str(tmp_path / "two.xyz")


def test_numbers_in_scientific_notation_are_numbers(campaign):
    text = SHORTEST + "acquisition: {tolerance: {energy: 1e-3}}\n"
    assert campaign(text).acquisition.tolerance.energy == 1e-3


def test_codes_without_electrons_do_not_count_them(campaign):
    text = replaced("CH3CH2OH", "OH", SHORTEST)
    text = replaced("{code: tblite, method: GFN2-xTB}", "{code: emt}", text)
    with pytest.raises(ConfigError, match="9 electrons"):
        campaign(text)
    text = re.sub(r"\{code: pyscf.*\}", '{code: python, factory: "a.b:c"}', text)
    assert campaign(text).system.molecule == "OH"


def test_declared_costs_stand_for_measured_ones(campaign):
    text = replaced(
        "{highest_labels: 40}", "{cost: 400, costs: {gfn2: 1, pbe: 10}}", SHORTEST
    )
    assert campaign(text).budget.costs == {"gfn2": 1.0, "pbe": 10.0}


# --- the digest --------------------------------------------------------------------


def test_the_digest_ignores_comments_order_defaults_and_the_folder(tmp_path):
    text = replaced("molecule: CH3CH2OH", "file: oh.xyz, multiplicity: 2", SHORTEST)
    reordered = yaml.safe_dump(yaml.safe_load(text), sort_keys=True)
    digests = set()
    for folder, content in (
        ("a", text),
        ("b", "# other\n" + reordered),
        ("c", text + "seed: 0\npool: {level: gfn2, size: 400}\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "oh.xyz").write_text(OH)
        (tmp_path / folder / "oh.yaml").write_text(content)
        digests.add(load_campaign(tmp_path / folder / "oh.yaml").digest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 0", "seed: 1"),
        ("def2-SVP", "def2-TZVP"),
        ("energy: 0.02", "energy: 0.01"),
        ("highest_labels: 40", "highest_labels: 41"),
        ("level: gfn2", "level: pbe"),
    ],
)
def test_the_digest_sees_any_other_value(campaign, old, new):
    assert campaign(replaced(old, new)).digest() != load_campaign(DEMO).digest()


# --- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # keys
        (
            "temperature:",
            "tempreature:",
            "pool: unknown key 'tempreature': did you mean",
        ),
        ("budget:", "budgt:", "unknown key 'budgt': did you mean 'budget'?"),
        ("forces: 0.1", "force: 0.1", "acquisition.tolerance: unknown key 'force'"),
        ("- name: pbe", "- nme: pbe", "levels[1]: unknown key 'nme'"),
        ("execution:", "7:", "unknown key 7: use one of name, seed"),
        ("seed: 0", "seed: 0\nseed: 1", "line 6: key 'seed' stands twice"),
        ("size: 400", "size: 4\n  size: 5", "key 'size' stands twice"),
        ("code: tblite", "code: a, code: b", "key 'code' stands twice"),
        # values
        ("size: 400", "size: many", "pool.size: has to be an integer"),
        ("size: 400", "size: 0", "pool.size: has to be greater than 0, got 0"),
        ("size: 400", "size: yes", "pool.size: yes or no is no value"),
        ("size: 400", "size: 1.5", "got 1.5"),
        ("temperature: 500", "temperature: .nan", "a finite number, got nan"),
        ("temperature: 500", "temperature: -5", "greater than 0, got -5"),
        (
            "energy: 0.02",
            "energy: 0",
            "acquisition.tolerance.energy: has to be greater",
        ),
        (
            "target_information",
            "best",
            "acquisition.name: has to be 'target_information'",
        ),
        ("_fraction: 0.3", "_fraction: 3", "less than or equal to 1, got 3"),
        ("quantities: [energy, forces]", "quantities: [energy, force]", "'force'"),
        ("quantities: [energy, forces]", "quantities: energy", "has to be a list"),
        ("quantities: [energy, forces]", "quantities: [energy, energy]", "once, got"),
        ("name: ethanol", "name:", "name: has to be a string, got None"),
        ("name: ethanol", "name: ''", "name: "),
        # system
        ("CH3CH2OH", "CH3CH2HO", "near: CH3CH2O, CH3CH2SH, CH3CH2OH"),
        ("CH3CH2OH", "ethanol", "system.molecule: ase.build.molecule does not know"),
        ("molecule: CH3CH2OH", "file: no.xyz", "system.file: there is no file"),
        ("molecule: CH3CH2OH", "file: two.xyz", "holds 2 structures: keep one"),
        ("molecule: CH3CH2OH", "file: broken.xyz", "frame 0 (from 0): a position"),
        ("molecule: CH3CH2OH", "file: near.xyz", "system: atoms 0 (O) and 1 (H) are"),
        ("molecule: CH3CH2OH", "file: oh.xyz", "9 electrons (charge +0)"),
        ("molecule: CH3CH2OH", "molecule: OH\n  file: oh.xyz", "give either `molecule"),
        ("multiplicity: 1", "multiplicity: 2", "26 electrons (charge +0) cannot have"),
        ("charge: 0", "charge: 1", "25 electrons (charge +1) cannot have"),
        # levels
        ("name: pbe", "name: gfn2", "level 'gfn2' is listed twice"),
        ("name: pbe", "name: ' pbe'", "blanks"),
        ("name: pbe", "energy_window: [2, 1]\n    name: pbe", "got 2 and 1"),
        ("{code: tblite, ", "{", "levels[0].oracle: an oracle needs the key `code`"),
        ("GFN2-xTB}", "2020-01-01}", "plain JSON"),
        ("{code: tblite", "{code: replay, path: no.xyz", "there is no file"),
        ("forces]\n\npool", "stress]\n\npool", None),
        ("[energy, forces]\n\npool", "[forces]\n\npool", "has to give the energy"),
        # pool, targets, pilot
        ("level: gfn2", "level: gfn1", "pool.level: there is no level 'gfn1', did you"),
        ("[energy, forces]", "[energy]", "pool.level: dynamics need forces"),
        ("sampler: md", "sampler: file", "`sampler: file` needs `path: pool.extxyz`"),
        ("sampler: md", "sampler: md\n  path: two.xyz", "`path` needs `sampler: file`"),
        ("sampler: md", "sampler: file\n  path: two.xyz", "needs `sampler: md`: leave"),
        ("targets: 40", "targets: 0", "target_information needs at least 1 target"),
        ("pilot: 8", "pilot: 2", "pilot: has to be greater than or equal to 3, got 2"),
        ("size: 400", "size: 87", "pilot: 8 pilot labels need as many candidates"),
        # budget
        (
            "highest_labels: 40",
            "highest_labels: 7",
            "of 7 labels is smaller than the pi",
        ),
        ("highest_labels: 40", "cost: 10", "`cost` needs `costs: {LEVEL: COST}`"),
        (
            "highest_labels: 40",
            "highest_labels: 9\n  cpu_seconds: 1",
            "budget: give exactly one of highest_labels, cpu_seconds, cost",
        ),
        (
            "highest_labels: 40",
            "cost: 87\n  costs: {gfn2: 1, pbe: 10}",
            "budget.cost: a budget of 87 is smaller than the pilot, which costs 88",
        ),
        (
            "highest_labels: 40",
            "cost: 400\n  costs: {gfn2: 1, pb: 10}",
            "budget.costs: there is no level 'pb', did you mean 'pbe'?",
        ),
        ("highest_labels: 40", "cost: 400\n  costs: {pbe: 1}", "'gfn2' has no cost"),
        ("highest_labels: 40", "cpu_seconds: 4\n  costs: {pbe: 1}", "no seconds"),
        # model
        ("permutations: auto", "permutations: atuo", "auto, none or a list of atom"),
        (
            "permutations: auto",
            "permutations: [[0, x]]",
            "auto, none or a list of atom",
        ),
        ("permutations: auto", "permutations: [[1, 0]]", "name each of 9 atoms once"),
        (
            "permutations: auto",
            "permutations: [[2, 1, 0, 3, 4, 5, 6, 7, 8]]",
            "exchanges atoms of different species",
        ),
        # YAML
        ("seed: 0", "seed: [0", "line 7: no valid YAML"),
        ("seed: 0", "seed: !!python/object:os.system x", "line 5: no valid YAML"),
        ("seed: 0", "\tseed: 0", "no valid YAML"),
        ("seed: 0", "seed: 2020-13-45", "no valid YAML"),
    ],
)
def test_a_fault_is_one_line_with_file_key_and_remedy(
    campaign, tmp_path, old, new, message
):
    if message is None:  # the neighbour of a fault is no fault
        campaign(replaced(old, new))
        return
    with pytest.raises(ConfigError) as caught:
        campaign(replaced(old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "ethanol.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["system", "levels", "budget"])
def test_what_has_no_default_is_required(campaign, key):
    data = yaml.safe_load(SHORTEST)
    del data[key]
    with pytest.raises(ConfigError, match=f"{key}: this key is required"):
        campaign(yaml.safe_dump(data))


def test_a_campaign_without_levels_is_refused(campaign):
    data = yaml.safe_load(SHORTEST) | {"levels": []}
    with pytest.raises(ConfigError, match=r"levels: .* at least 1 item"):
        campaign(yaml.safe_dump(data))


@pytest.mark.parametrize(
    "text", ["", "- a\n", "3\n", "\x00", "a: &a {b: *a}", "[" * 5000]
)
def test_a_file_that_is_no_mapping_is_refused(campaign, text):
    with pytest.raises(ConfigError):
        campaign(text)


def test_a_missing_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read: No such file"):
        load_campaign(tmp_path / "no.yaml")


LINES = DEMO.read_text().splitlines(keepends=True)


@given(
    place=st.integers(0, len(LINES) - 1),
    line=st.text(st.characters(codec="utf-8"), max_size=12),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=50,
    deadline=None,
)
def test_any_line_may_be_garbage_and_nothing_but_a_config_error_comes(
    tmp_path, place, line
):
    path = tmp_path / "ethanol.yaml"
    path.write_text("".join([*LINES[:place], line + "\n", *LINES[place + 1 :]]))
    try:
        config = load_campaign(path)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert len(config.levels) >= 1
