"""Permutations of like atoms under which a molecule's energy does not change."""

import logging
from collections.abc import Sequence

import networkx as nx
import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from jaxtyping import Int
from torch import Tensor

from mfal.descriptors.inverse_distances import InverseDistances

_logger = logging.getLogger(__name__)

_BOND = 1.25  # two atoms are bonded below this multiple of the sum of covalent radii
_LARGEST_GROUP = 1000


def identity(n_atoms: int) -> Int[Tensor, "1 n"]:
    """The group of one element, for a molecule without symmetry: [[0, 1, ..., n - 1]]."""
    return torch.arange(n_atoms).unsqueeze(0)


def declared_group(
    permutations: Sequence[Sequence[int]], symbols: Sequence[str]
) -> Int[Tensor, "g n"]:
    """The smallest group that holds these permutations of like atoms.

    Raises:
        ValueError: a row that is not a permutation, or that exchanges unlike atoms.
    """
    n = len(symbols)
    for row in permutations:
        if sorted(row) != list(range(n)):
            raise ValueError(
                f"a permutation lists each of the atoms 0 to {n - 1} once, got {row}"
            )
        unlike = [i for i in range(n) if symbols[i] != symbols[row[i]]]
        if unlike:
            raise ValueError(
                f"a permutation exchanges like atoms only, {list(row)} puts "
                f"{symbols[row[unlike[0]]]} in the place of {symbols[unlike[0]]}"
            )
    return _closure([tuple(row) for row in permutations], n)


def find_group(structures: Sequence[Atoms]) -> Int[Tensor, "g n"]:
    """The permutations of like atoms that the data show to be reachable.

    Two conditions. The permutation keeps the graph of bonds (made from the median
    distances). And the permuted data lie within the data: for half of the geometries
    the nearest geometry to P q is no farther than two geometries usually are from each
    other (the median distance between them). Permutations that need a bond broken, or
    a centre inverted while the rest stays, fail it; they would only cost time, since
    the covariance with the permuted geometry vanishes.

    Source: in the spirit of Chmiela et al. (2018), Nat. Commun. 9, 3887, who find them
    by matching geometries.
    """
    symbols = structures[0].get_chemical_symbols()
    positions = torch.tensor(np.array([a.positions for a in structures]))
    descriptor = InverseDistances(symbols)
    values, _ = descriptor.values_and_jacobian(positions)
    candidates = _graph_automorphisms(symbols, values.median(dim=0).values.reciprocal())
    apart = torch.cdist(values, values)
    typical = apart[~torch.eye(len(values), dtype=torch.bool)].median()
    reachable = [
        tuple(permutation)
        for permutation, order in zip(
            candidates, descriptor.orders(torch.tensor(candidates)), strict=True
        )
        if torch.cdist(values[:, order], values).min(dim=1).values.median() <= typical
    ]
    group = _closure(reachable, len(symbols))
    _logger.info(
        "%d of %d permutations of like atoms are reachable: kernels are summed over a "
        "group of %d",
        len(reachable),
        len(candidates),
        len(group),
    )
    return group


def _graph_automorphisms(
    symbols: Sequence[str], distances: Tensor
) -> list[tuple[int, ...]]:
    n = len(symbols)
    numbers = Atoms(symbols).numbers
    graph = nx.Graph()
    graph.add_nodes_from((i, {"species": symbols[i]}) for i in range(n))
    for (i, j), r in zip(
        zip(*np.triu_indices(n, 1), strict=True), distances, strict=True
    ):
        radii = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
        if float(r) < _BOND * radii:
            graph.add_edge(int(i), int(j))
    matcher = nx.algorithms.isomorphism.GraphMatcher(
        graph, graph, node_match=lambda a, b: a["species"] == b["species"]
    )
    found: list[tuple[int, ...]] = []
    for mapping in matcher.isomorphisms_iter():
        found.append(tuple(mapping[i] for i in range(n)))
        if len(found) > _LARGEST_GROUP:
            raise ValueError(
                f"the graph of bonds has more than {_LARGEST_GROUP} permutations: "
                "declare the ones that matter (model.permutations), or none"
            )
    return found


def _closure(generators: list[tuple[int, ...]], n: int) -> Int[Tensor, "g n"]:
    one = tuple(range(n))
    group = {one}
    frontier = [one]
    while frontier:
        products = {
            tuple(p[i] for i in g) for p in frontier for g in generators
        } - group
        group |= products
        frontier = list(products)
        if len(group) > _LARGEST_GROUP:
            raise ValueError(
                f"the permutations generate a group of more than {_LARGEST_GROUP}: "
                "declare fewer"
            )
    return torch.tensor([one, *sorted(group - {one})])
