"""A model of either engine, its pool and its structures, with labels of any values."""

import numpy as np
import torch
from small_cells import hyperparameters, random_dataset, small_map
from small_models import BOTH, potential, water, water_dataset
from small_models import hyperparameters as exact_hyperparameters

from mfal.acquisition import Property, PropertyTerm
from mfal.models.pool import ExactPool
from mfal.models.sparse import SparsePotential
from mfal.models.weight_fit import WeightFit
from mfal.models.weight_pool import WeightPool


class Exact:
    """The exact model of water."""

    pool = ExactPool
    pair = (4, 5)
    """Two structures of one composition that the data do not hold."""

    @staticmethod
    def model(labels, seed=0, levels=2):
        data = water_dataset([(i, k, BOTH) for i, k in labels], seed=seed)
        return potential(data, exact_hyperparameters(*["rbf", "matern52"][:levels]))

    @staticmethod
    def structure(i):
        return water(i)


class Sparse:
    """The sparse model of small crystals, alloys and a molecule."""

    pool = WeightPool
    pair = (4, 6)

    @staticmethod
    def model(labels, seed=0, levels=2):
        asked = [(i, k, BOTH) for i, k in labels]
        data = random_dataset(asked, seed, n_levels=levels)
        known = random_dataset([(6, 0, BOTH)]).structures[:4]
        feature_map = small_map(known, 5)  # so few that they leave something out
        errors = torch.full((levels - 1,), torch.nan).double()
        fit = WeightFit(hyperparameters(levels), errors, 0.0, True, None, 0)
        return SparsePotential.with_fit(data, feature_map, fit)

    @staticmethod
    def structure(i):
        return random_dataset([(6, 0, BOTH)]).structures[i]


ENGINES = (Exact, Sparse)
LEVELS = ("low", "middle")
DATA = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1)]


def structures(engine):
    """Two of the same composition, not among the data."""
    return [engine.structure(i) for i in engine.pair]


def mixed(engine):
    """A difference of energies and a force along some direction."""
    a, b = structures(engine)
    direction = np.random.default_rng(0).normal(size=3 * len(b))
    terms = (
        PropertyTerm(a, "energy", np.array([1.0])),
        PropertyTerm(b, "energy", np.array([-1.0])),
        PropertyTerm(b, "forces", direction),
    )
    return Property("mixed", terms)
