import pytest
from ase.build import molecule

from mfal import Fidelity, Label, LabelledDataset, write_extxyz
from mfal.oracles import OracleError, build_oracle, validate_specification


@pytest.fixture
def stored(tmp_path):
    """Two structures with labels of two levels; the first cost 7.5 s at `high`."""
    structures = (molecule("H2O"), molecule("NH3"))
    levels = (Fidelity("low"), Fidelity("high"))
    labels = {
        (i, level): Label(energy=-10.0 * i - (level == "high"), forces=atoms.positions)
        for i, atoms in enumerate(structures)
        for level in ("low", "high")
    }
    path = tmp_path / "stored.xyz"
    write_extxyz(path, LabelledDataset(structures, levels, labels))
    lines = path.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "mfal_fidelity=high" in line)
    lines[first] += " mfal_cpu_seconds=7.5"
    path.write_text("\n".join(lines) + "\n")
    return path


def replay(path, name="high", quantities=("energy", "forces"), **options):
    specification = {"code": "replay", "path": str(path), **options}
    return Fidelity(name, specification, quantities)


def test_the_stored_label_comes_back_with_its_cost(stored):
    oracle = build_oracle(replay(stored))
    first, second = oracle(molecule("H2O")), oracle(molecule("NH3"))
    assert (first.label.energy, second.label.energy) == (-1.0, -11.0)
    assert (first.cpu_seconds, second.cpu_seconds) == (7.5, 0.0)
    assert first.converged


def test_the_units_of_the_file_may_be_declared(stored):
    oracle = build_oracle(replay(stored, units={"energy": "meV"}))
    assert oracle(molecule("H2O")).label.energy == pytest.approx(-1e-3)
    with pytest.raises(ValueError, match="no unit of energy"):
        build_oracle(replay(stored, units={"energy": "eVs"}))


def test_a_copy_that_went_through_a_file_is_found(stored):
    atoms = molecule("H2O")
    atoms.positions += 4e-9
    assert build_oracle(replay(stored))(atoms).label.energy == -1.0


def test_the_level_in_the_file_may_have_another_name(stored):
    oracle = build_oracle(replay(stored, "cheap", level="low"))
    assert oracle(molecule("H2O")).label.energy == 0.0


def test_only_the_quantities_of_the_level_are_given(stored):
    label = build_oracle(replay(stored, quantities=("energy",)))(molecule("H2O")).label
    assert label.quantities == ("energy",)


def test_a_structure_or_quantity_that_is_not_stored_is_an_error(stored):
    atoms = molecule("H2O")
    atoms.positions[0] += 1e-3
    with pytest.raises(OracleError, match="holds no label of this") as failure:
        build_oracle(replay(stored))(atoms)
    assert failure.value.kind == "not_in_replay"
    with pytest.raises(OracleError, match="holds no stress"):
        build_oracle(replay(stored, quantities=("stress",)))(molecule("H2O"))


def test_a_missing_file_or_level_is_refused_early(stored):
    with pytest.raises(ValueError, match="there is no file"):
        validate_specification(replay(stored.with_name("other.xyz")), ["H"])
    with pytest.raises(ValueError, match="no level 'highest', but low, high"):
        validate_specification(replay(stored, "highest"), ["H"])


def test_a_cost_that_is_not_a_number_is_refused(stored):
    stored.write_text(stored.read_text().replace("seconds=7.5", "seconds=much"))
    with pytest.raises(ValueError, match="mfal_cpu_seconds is a number >= 0"):
        validate_specification(replay(stored), ["H"])


def test_a_file_that_changed_is_read_again(stored):
    oracle = build_oracle(replay(stored))
    assert oracle(molecule("H2O")).label.energy == -1.0
    stored.write_text(stored.read_text().replace("REF_energy=-1.0", "REF_energy=-1.25"))
    assert oracle(molecule("H2O")).label.energy == -1.25
