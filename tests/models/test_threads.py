"""One thread of torch where many small operations follow each other."""

import pytest
import torch
from ase.build import bulk

from mfal.descriptors import Soap
from mfal.models.feature_map import FeatureMap
from mfal.models.features import LinearFeatures
from mfal.models.threads import torch_threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_holds_inside_and_is_given_back_whatever_happens():
    with torch_threads(1):
        assert torch.get_num_threads() == 1
        with torch_threads(None):
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), torch_threads(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def test_as_a_decorator_it_holds_at_every_call():
    inside = torch_threads()(torch.get_num_threads)
    assert [inside(), inside()] == [1, 1]
    assert torch.get_num_threads() == 2


def test_there_is_at_least_one_thread():
    with (
        pytest.raises(ValueError, match="at least one thread, got 0"),
        torch_threads(0),
    ):
        pass


def test_descriptors_of_one_structure_are_computed_by_one_thread(monkeypatch):
    """What streams a data set takes twice as long with two (`benchmarks/scaling`)."""
    soap, copper = Soap(["Cu"], cutoffs=(3.5,)), bulk("Cu", cubic=True)
    features = LinearFeatures((29,), soap(copper).values.shape[1])
    feature_map = FeatureMap((29,), ((soap, features),))
    seen, compute = [], Soap.__call__

    def noting(self, atoms):
        seen.append(torch.get_num_threads())
        return compute(self, atoms)

    monkeypatch.setattr(Soap, "__call__", noting)
    weights = torch.ones(feature_map.size, dtype=torch.float64)
    feature_map.rows(copper)
    feature_map.energy_and_slopes(copper, weights)
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
