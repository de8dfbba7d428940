"""Structures and levels that the tests of the oracles share."""

import pytest
from ase.build import bulk, molecule
from faulty_codes import ALLOWED

from mfal import Fidelity
from mfal.oracles import LabelRequest


@pytest.fixture
def water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture
def faulty():
    """The level of one of the calculators in faulty_codes.py."""

    def level(name, quantities=("energy", "forces"), **arguments):
        specification = {
            "code": "python",
            "factory": f"faulty_codes:{name}",
            "arguments": {k: str(v) if k in PATHS else v for k, v in arguments.items()},
        }
        return Fidelity("faulty", specification, quantities=quantities)

    return level


PATHS = ("note", "mark")


@pytest.fixture
def request_of(copper, tmp_path):
    """A request to label the copper cell at a level, with a spool directory."""

    def make(fidelity, label_id="a", atoms=None, **changes):
        return LabelRequest.of(
            label_id,
            copper if atoms is None else atoms,
            fidelity,
            **{"spool": tmp_path / "spool", "allowed_modules": ALLOWED} | changes,
        )

    return make
