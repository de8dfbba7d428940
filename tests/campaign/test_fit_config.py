"""What `mfal fit` reads."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mfal import Fidelity, Label, LabelledDataset, write_extxyz
from mfal.campaign.fit_config import FitConfig, check_levels, read_training_data
from mfal.campaign.sections import ConfigError, read_section
from mfal.campaign.settings import SparseConfig
from mfal.models.sparse import CUTOFFS, N_INDUCING, ZETA
from mfal.models.tuning import KernelShape
from mfal.units import in_house_units


@pytest.fixture
def write(tmp_path):
    """Writes a data set, or text, to a file of this name."""

    def to(name, content):
        path = tmp_path / name
        if isinstance(content, LabelledDataset):
            write_extxyz(path, content)
        else:
            path.write_text(content)
        return path

    return to


@pytest.fixture
def both(methanol, write):
    return write("both.extxyz", methanol.subset(range(4)))


def read(path, **settings):
    return read_training_data(FitConfig(**settings), [path])


def changed(dataset, index, level, **values):
    label = dataclasses.replace(dataset.labels[index, level], **values)
    return dataset.with_labels({(index, level): label})


def test_levels_are_in_the_order_of_the_fit(both):
    assert read(both, levels=["mp2", "gfn2"]).levels == ("mp2", "gfn2")
    assert len(read(both, levels=["gfn2", "mp2"]).labels) == 8


def test_several_levels_need_an_order(both):
    with pytest.raises(ValueError, match=r"2 levels \(gfn2, mp2\): say their order"):
        read(both)


def test_one_level_needs_none(methanol, write):
    path = write("one.extxyz", methanol.subset(range(3)).at_levels(["mp2"]))
    assert read(path).levels == ("mp2",)


def test_levels_that_are_left_out_are_logged_with_their_structures(
    methanol, write, caplog
):
    dataset = methanol.subset(range(3))
    labels = {k: v for k, v in dataset.labels.items() if k != (1, "mp2")}
    path = write("both.extxyz", dataclasses.replace(dataset, labels=labels))
    assert len(read(path, levels=["mp2"])) == 2
    assert "left out: gfn2" in caplog.text


def test_a_level_that_no_file_holds_is_refused_with_the_nearest(both):
    with pytest.raises(ValueError, match="'gnf2' in the files, did you mean 'gfn2'"):
        read(both, levels=["gnf2", "mp2"])


def test_a_level_stands_once():
    with pytest.raises(ValueError, match="'mp2' is listed twice"):
        check_levels(["mp2", "gfn2", "mp2"])
    with pytest.raises(ValueError, match="'mp2' is listed twice"):
        FitConfig(levels=["mp2", "mp2"])
    with pytest.raises(ValueError, match="needs a name"):
        check_levels(["mp2", ""])


def nameless(dataset, level, write, name):
    """A file of one level with keys of its own, which does not name the level."""
    path = write(name, dataset.at_levels([level]))
    text = path.read_text().replace(f"mfal_fidelity={level} ", "")
    for quantity in ("energy", "forces"):
        text = text.replace(f"REF_{quantity}", f"{level}_{quantity}")
    return write(name, text)


def test_each_file_may_have_its_own_level_and_keys(methanol, write):
    few = methanol.subset(range(3))
    for level in few.levels:
        nameless(few, level, write, f"{level}.extxyz")
    text = "levels: [gfn2, mp2]\nfiles:\n"
    for level in few.levels:
        text += f"  - {{path: {level}.extxyz, level: {level}, keys: "
        text += f"{{energy: {level}_energy, forces: {level}_forces}}}}\n"
    config = read_section(write("fit.yaml", text), FitConfig)
    dataset = read_training_data(config, [])
    assert dataset.levels == ("gfn2", "mp2")
    for key, label in few.labels.items():
        assert dataset.labels[key].agrees_with(label)


@pytest.mark.faults
def test_forces_in_other_units_are_found_and_mended_by_declaring_them(write):
    """Row 19: forces in Hartree/Bohr beside energies in eV."""
    structures = []
    labels = {}
    for i in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=i)
        structures.append(atoms)
        copy = atoms.copy()
        copy.calc = EMT()
        forces = copy.get_forces() / in_house_units("forces", "Hartree/Bohr")
        labels[i, "emt"] = Label(copy.get_potential_energy(), forces)
    data = LabelledDataset(tuple(structures), (Fidelity("emt"),), labels)
    path = write("wrong.extxyz", data)
    with pytest.raises(ValueError, match="check the units"):
        read(path)
    text = "files: [{path: wrong.extxyz, units: {forces: Hartree/Bohr}}]"
    found = read_training_data(read_section(write("fit.yaml", text), FitConfig), [])
    np.testing.assert_allclose(found.labels[3, "emt"].forces[0], true_force(data, 3))
    whole = read(path, units={"forces": "Hartree/Bohr"})  # of files on the command line
    assert whole.labels[3, "emt"].agrees_with(found.labels[3, "emt"])


def true_force(dataset, index):
    atoms = dataset.structures[index].copy()
    atoms.calc = EMT()
    return atoms.get_forces()[0]


def test_one_frame_may_hold_the_labels_of_several_levels(methanol, write, caplog):
    few = methanol.subset(range(3))
    first = nameless(few, "mp2", write, "x.extxyz").read_text().splitlines()
    for i in range(2):  # the last frame has one level only
        energy = few.labels[i, "gfn2"].energy
        first[8 * i + 1] = first[8 * i + 1].replace(
            "mp2_energy", f"gfn2_energy={energy!r} mp2_energy"
        )
    write("x.extxyz", "\n".join(first) + "\n")
    text = """levels: [gfn2, mp2]
files:
  - {path: x.extxyz, level: gfn2, keys: {energy: gfn2_energy}}
  - {path: x.extxyz, level: mp2, keys: {energy: mp2_energy, forces: mp2_forces}}
"""
    dataset = read_training_data(read_section(write("f.yaml", text), FitConfig), [])
    assert dataset.paired("gfn2", "mp2") == (0, 1)
    assert dataset.labels[1, "gfn2"].energy == few.labels[1, "gfn2"].energy
    assert "1 structures have no label under gfn2_energy" in caplog.text


def test_keys_that_no_frame_has_are_refused(methanol, write):
    path = write("one.extxyz", methanol.subset(range(3)).at_levels(["mp2"]))
    with pytest.raises(ValueError, match="no label under ccsd_energy in"):
        read(path, keys={"energy": "ccsd_energy"})


def test_a_file_that_names_no_level_has_the_single_level_of_the_fit(methanol, write):
    path = nameless(methanol.subset(range(3)), "mp2", write, "mp2.extxyz")
    keys = {"energy": "mp2_energy", "forces": "mp2_forces"}
    assert read(path, levels=["mp2"], keys=keys).levels == ("mp2",)
    assert read(path, level="best", keys=keys).levels == ("best",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kernle: rbf", "unknown key 'kernle': did you mean 'kernel'"),
        ("kernel: cosine", "kernel: has to be 'rbf', 'matern52' or 'auto'"),
        ("files: [{path: none.extxyz}]", "there is no file"),
        ("evidence_rows: 0", "evidence_rows"),
        ("units: {energy: Hartrees}", "'Hartrees' is no unit of energy"),
        ("levels: [a, a]", "listed twice"),
        ("permutations: [[0, 1.5]]", "atom orders"),
    ],
)
def test_a_fault_of_the_configuration_is_one_line(write, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read_section(write("fit.yaml", text), FitConfig)
    assert "\n" not in str(caught.value)


def test_no_files_are_refused():
    with pytest.raises(ValueError, match="there are no data"):
        read_training_data(FitConfig(), [])


def test_atoms_in_another_order_are_refused_with_the_structure(methanol, write):
    few = methanol.subset(range(3)).at_levels(["mp2"])
    order = [1, 0, 2, 3, 4, 5]
    moved = list(few.structures)
    moved[2] = moved[2][order]
    path = write("x.extxyz", dataclasses.replace(few, structures=tuple(moved)))
    with pytest.raises(
        ValueError, match=r"structure 2 .* is OCHHHH, the first is COHHHH"
    ):
        read(path)


def test_atoms_on_top_of_each_other_are_refused(methanol, write):
    few = methanol.subset(range(3)).at_levels(["mp2"])
    positions = few.structures[1].positions.copy()
    positions[3] = positions[1] + [0, 0, 0.1]
    broken = [*few.structures]
    broken[1] = Atoms(broken[1].numbers, positions)
    path = write("x.extxyz", dataclasses.replace(few, structures=tuple(broken)))
    with pytest.raises(ValueError, match=r"structure 1 .* 0.100 A apart"):
        read(path)


def test_a_force_that_cannot_be_is_refused(methanol, write):
    few = methanol.subset(range(3)).at_levels(["mp2"])
    forces = few.labels[1, "mp2"].forces * 1000
    with pytest.raises(ValueError, match=r"structure 1 .* level 'mp2': the force on"):
        read(write("x.extxyz", changed(few, 1, "mp2", forces=forces)))


def test_forces_in_other_units_than_energies_are_refused(methanol, write):
    rng = np.random.default_rng(0)
    start, forces = methanol.structures[0], methanol.labels[0, "mp2"].forces
    structures, labels = [], {}
    for i in range(8):  # a plane of energies: exact along every step
        step = 0.02 * rng.standard_normal(forces.shape)
        structures.append(Atoms(start.numbers, start.positions + step))
        label = methanol.labels[0, "mp2"]
        energy = label.energy - np.sum(step * forces)
        labels[i, "mp2"] = dataclasses.replace(label, energy=energy)
    plane = LabelledDataset(tuple(structures), methanol.fidelities[1:], labels)
    assert len(read(write("eV.extxyz", plane))) == 8
    for i in range(8):
        plane = changed(plane, i, "mp2", energy=labels[i, "mp2"].energy / 27.2114)
    with pytest.raises(ValueError, match="check the units and the sign"):
        read(write("hartree.extxyz", plane))


def test_a_fit_from_files_and_one_in_python_have_the_same_defaults():
    options = SparseConfig()
    assert (options.n_inducing, options.zeta) == (N_INDUCING, ZETA)
    assert options.cutoffs == CUTOFFS == KernelShape().cutoffs
    assert options.width == KernelShape().width
