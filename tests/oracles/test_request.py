import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfal import Fidelity, Label
from mfal.oracles import LabelError, LabelRequest, LabelResult

EMT = Fidelity("emt", {"code": "emt"})


def result(**changes):
    values = {
        "label_id": "a",
        "task": "t",
        "attempt": 2,
        "label": Label(0.1 + 0.2, np.full((2, 3), 1 / 3), np.arange(6) / 7),
        "error": None,
        "wall_seconds": 1.5,
        "cpu_seconds": 1.25,
        "host": "here",
        "finished": 1e9 + 1 / 3,
        "converged": True,
        "versions": {"ase": "3"},
    }
    return LabelResult(**values | changes)


def test_a_request_survives_json(request_of):
    request = request_of(EMT, attempt=3)
    assert LabelRequest.from_json(request.to_json()) == request


def test_the_structure_of_a_request_is_the_one_asked_for(request_of, copper):
    atoms = request_of(EMT).atoms
    np.testing.assert_allclose(atoms.positions, copper.positions, atol=1e-8, rtol=0)
    np.testing.assert_array_equal(atoms.cell, copper.cell)
    assert atoms.get_chemical_symbols() == copper.get_chemical_symbols()
    assert atoms.pbc.all()


def test_a_task_depends_on_what_is_computed_and_on_nothing_else(request_of, copper):
    task = request_of(EMT).task
    renamed = Fidelity("other name", EMT.oracle)
    assert request_of(renamed, "b", attempt=2, spool=None).task == task
    copper.positions[0, 0] += 1e-6
    others = [
        request_of(EMT, atoms=copper),
        request_of(Fidelity("emt", {"code": "emt"}, charge=1)),
        request_of(Fidelity("emt", {"code": "emt"}, ("energy",))),
    ]
    assert len({task, *(other.task for other in others)}) == 4


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a b", "x" * 300])
def test_a_label_id_that_is_no_plain_file_name_is_refused(request_of, name):
    with pytest.raises(ValueError, match="label_id is a file name"):
        request_of(EMT, name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label": None, "error": LabelError("timeout", "slow"), "converged": None},
        {"label": Label(forces=np.ones((1, 3)), sigma={"forces": 0.1})},
    ],
)
def test_a_result_survives_json_to_the_last_digit(changes):
    before = result(**changes)
    after = LabelResult.from_json(before.to_json())
    for field in dataclasses.fields(LabelResult):
        one, two = getattr(before, field.name), getattr(after, field.name)
        if field.name == "label" and one is not None:
            assert one.agrees_with(two)
            assert one.sigma == two.sigma
        else:
            assert one == two


@pytest.mark.parametrize("both", [True, False])
def test_a_result_is_either_a_label_or_an_error(both):
    error = LabelError("timeout", "slow")
    with pytest.raises(ValueError, match="a label or an error"):
        result(**({"error": error} if both else {"label": None}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.pop("task"),
        lambda v: v.update(extra=1),
        lambda v: v.update(format=3),
        lambda v: v.pop("sha256"),
        lambda v: v["label"].update(energy=-2.0),
        lambda v: v.update(cpu_seconds=0.0),
        lambda v: v.pop("format"),
        lambda v: v["label"].update(energy=float("nan")),
        lambda v: v["label"].update(forces=[[1.0, 2.0]]),
    ],
)
def test_json_that_is_no_result_of_this_format_is_refused(spoil):
    values = json.loads(result().to_json())
    spoil(values)
    with pytest.raises(ValueError):
        LabelResult.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"a"', "{"])
def test_text_that_is_no_result_is_refused(text):
    with pytest.raises(ValueError):
        LabelResult.from_json(text)


@pytest.mark.faults
@given(st.data())
def test_a_flipped_bit_never_changes_a_result(data):
    """Row 16: it is refused, or reads as what was written."""
    before = result(label=Label(energy=-76.5, forces=np.eye(3)))
    content = bytearray(before.to_json().encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        after = LabelResult.from_json(content.decode())
    except ValueError:
        return
    assert after.label.agrees_with(before.label)
    assert after.to_json() == before.to_json()


def test_a_result_of_the_first_format_is_read():
    values = json.loads(result().to_json()) | {"format": 1}
    del values["sha256"]
    assert LabelResult.from_json(json.dumps(values)).to_json() == result().to_json()
