r"""Descriptors as TorchScript: the numbers of `mfal.descriptors` from operations of torch.

An engine hands over the vectors r of all pairs; forces and stresses come from autograd
through these modules, with no extension of torch to load. Power spectra follow
`mfal.descriptors.density` (the same splines) and `Layout` (the same order of entries):

    c_ianlm = sum_j R_nl(r_ij) Y_lm(u_ij),   p_anbn'l = (-1)^l (2 l + 1)^-1/2 c_an . c_bn',

TorchScript reads annotations itself, so that they are plain here and shapes stand in
the docstrings: p pairs, e environments, d entries of a descriptor.
"""

import math
from collections.abc import Iterable
from typing import no_type_check

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.polynomial import legendre
from torch import Tensor, nn

from mfal.descriptors.density import CLOSEST, DensityBasis
from mfal.descriptors.environments import Descriptor
from mfal.descriptors.pair_distances import PairDistances
from mfal.descriptors.power_spectrum import Layout
from mfal.descriptors.soap import Soap


def scripted_descriptor(descriptor: Descriptor) -> nn.Module:
    """The module of a descriptor.

    Raises:
        TypeError: a descriptor that has none.
    """
    if isinstance(descriptor, Soap):
        return PowerSpectra(descriptor)
    if isinstance(descriptor, PairDistances):
        return PairFunctions(descriptor)
    raise TypeError(
        f"a {type(descriptor).__name__} cannot be exported: fit a model on Soap or "
        "PairDistances"
    )


def longest_cutoff(descriptors: Iterable[Descriptor]) -> float:
    """How far the farthest neighbour stands that matters to a descriptor (A)."""
    found: list[float] = []
    for descriptor in descriptors:
        if isinstance(descriptor, Soap):
            found += descriptor.cutoffs
        if isinstance(descriptor, PairDistances):
            found.append(descriptor.cutoff)
    return max(found)


def places(numbers: list[int]) -> Tensor:
    """A table from atomic numbers to their position in a list; -1 for all others."""
    table = torch.full((max(numbers) + 1,), -1, dtype=torch.long)
    table[torch.tensor(numbers)] = torch.arange(len(numbers))
    return table


@no_type_check
class SphericalHarmonics(nn.Module):
    r"""Y_lm(x, y, z) = N_lm d^|m| P_l(z) / dz^|m| a_m(x, y), real, m from -l to l.

    a_m + i a_-m = sqrt(2) (x + i y)^m for m > 0, a_0 = 1,
    N_lm^2 = (2 l + 1) / (4 pi) (l - |m|)! / (l + |m|)!.

    Source: Bigi et al. (2023), J. Chem. Phys. 159, 064802, eqs. 1-6.
    """

    polynomials: Tensor
    azimuth: Tensor

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        polynomials = np.zeros((l_max + 1, (l_max + 1) ** 2))
        azimuth = []
        for order in range(l_max + 1):
            for m in range(-order, order + 1):
                series = legendre.legder([0.0] * order + [1.0], abs(m))
                powers = legendre.leg2poly(series)
                ratio = math.factorial(order - abs(m)) / math.factorial(order + abs(m))
                norm = math.sqrt((2 * order + 1) / (4 * math.pi) * ratio)
                norm *= 1.0 if m == 0 else math.sqrt(2.0)
                polynomials[: len(powers), order * (order + 1) + m] = norm * powers
                azimuth.append(l_max + m)
        self.register_buffer("polynomials", torch.from_numpy(polynomials))
        self.register_buffer("azimuth", torch.tensor(azimuth))

    def forward(self, directions: Tensor) -> Tensor:
        """Y, "p (l_max + 1)^2", of unit vectors, "p 3"."""
        x, y, z = directions.unbind(1)
        height = torch.ones_like(z)
        cosine, sine = torch.ones_like(x), torch.zeros_like(x)
        heights, cosines, sines = [height], [cosine], [sine]
        for _ in range(self.l_max):
            height = height * z
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            heights.append(height)
            cosines.append(cosine)
            sines.append(sine)
        around = [sines[self.l_max - k] for k in range(self.l_max)]
        turns = torch.stack(around + cosines, dim=1).index_select(1, self.azimuth)
        return torch.stack(heights, dim=1) @ self.polynomials * turns


@no_type_check
class PowerSpectrum(nn.Module):
    """The power spectrum of one cutoff (`Soap`)."""

    cubics: Tensor
    own: Tensor
    entries: Tensor
    weights: Tensor

    def __init__(self, basis: DensityBasis, layout: Layout, numbers: list[int]) -> None:
        super().__init__()
        self.cutoff, self.l_max, self.n_max = basis.cutoff, basis.l_max, basis.n_max
        self.n_species = len(numbers)
        self.closest = CLOSEST
        self.step = (basis.cutoff - CLOSEST) / len(basis.cubics)
        self.register_buffer("cubics", basis.cubics)
        self.register_buffer("own", basis.own[: basis.n_max])
        entries, weights = _entries(layout, self.n_species, basis.n_max, basis.l_max)
        self.register_buffer("entries", entries)
        self.register_buffer("weights", weights)

    def radial(self, distances: Tensor) -> Tensor:
        """R_ln, "p (l, n)"; zero from the cutoff on."""
        n_intervals = self.cubics.shape[0]
        place = ((distances - self.closest) / self.step).clamp(max=float(n_intervals))
        left = place.detach().long().clamp(max=n_intervals - 1)
        t = (place - left).unsqueeze(1)
        c0, c1, c2, c3 = self.cubics.index_select(0, left).unbind(1)
        return ((c3 * t + c2) * t + c1) * t + c0

    def forward(
        self,
        distances: Tensor,
        harmonics: Tensor,
        environments: Tensor,
        species: Tensor,
        own_species: Tensor,
    ) -> Tensor:
        """Spectra, "e d".

        `distances` (A) and `harmonics` of pairs with their environment and the place of
        the neighbour's species, sorted by nothing; `own_species` of the environments.
        """
        near = (distances < self.cutoff).nonzero().squeeze(1)
        environments = environments.index_select(0, near)
        species = species.index_select(0, near)
        radial = self.radial(distances.index_select(0, near))
        harmonics = harmonics.index_select(0, near)
        n_env, n = own_species.shape[0], self.n_max
        shells = [  # of each species: Y and R of the neighbours, as many places for each
            _shell(species == s, environments, n_env, harmonics, radial)
            for s in range(self.n_species)
        ]
        itself = radial.new_zeros(n_env, self.n_species * n)
        first = n * own_species.unsqueeze(1) + torch.arange(n, device=radial.device)
        itself = itself.scatter(1, first, self.own.expand(n_env, n)).unsqueeze(1)
        products: list[Tensor] = []
        for order in range(self.l_max + 1):
            begin, end = order * order, (order + 1) * (order + 1)
            parts = [
                y[:, :, begin:end].transpose(1, 2)
                @ r[:, :, order * n : (order + 1) * n]
                for y, r in shells
            ]
            c = torch.cat(parts, dim=2)
            if order == 0:
                c = c + itself
            products.append((c.transpose(1, 2) @ c).flatten(1))
        return torch.cat(products, dim=1).index_select(1, self.entries) * self.weights


@no_type_check
class PowerSpectra(nn.Module):
    """Power spectra of all cutoffs of a `Soap`, one after the other."""

    places: Tensor

    def __init__(self, soap: Soap) -> None:
        super().__init__()
        numbers = [atomic_numbers[s] for s in soap.species]
        self.closest = CLOSEST
        self.register_buffer("places", places(numbers))
        self.spectra = nn.ModuleList(
            [PowerSpectrum(basis, layout, numbers) for basis, layout in soap.expansions]
        )
        self.harmonics = SphericalHarmonics(
            max(basis.l_max for basis, _ in soap.expansions)
        )

    def forward(
        self,
        vectors: Tensor,
        environments: Tensor,
        neighbours: Tensor,
        centres: Tensor,
    ) -> Tensor:
        """Spectra, "e d".

        `vectors` (A) to neighbours, "p 3", the environment and the neighbour's atomic
        number of each; atomic numbers of the `centres`.
        """
        distances = torch.linalg.vector_norm(vectors, dim=1)
        if bool((distances < self.closest).any()):
            raise ValueError("two atoms are nearer than any potential knows")
        harmonics = self.harmonics(vectors / distances.unsqueeze(1))
        species = self.places.index_select(0, neighbours)
        own_species = self.places.index_select(0, centres)
        found: list[Tensor] = []
        for spectrum in self.spectra:
            found.append(
                spectrum(distances, harmonics, environments, species, own_species)
            )
        return torch.cat(found, dim=1)


@no_type_check
class PairFunctions(nn.Module):
    """The radial functions of `PairDistances`, summed over neighbours."""

    places: Tensor
    centres: Tensor

    def __init__(self, descriptor: PairDistances) -> None:
        super().__init__()
        numbers = [atomic_numbers[s] for s in descriptor.species]
        self.cutoff, self.smoothing = descriptor.cutoff, descriptor.smoothing
        self.n_species, self.n_centres = len(numbers), descriptor.n_centres
        self.width = descriptor.cutoff / descriptor.n_centres
        centres = self.width * torch.arange(1, self.n_centres + 1, dtype=torch.float64)
        self.register_buffer("places", places(numbers))
        self.register_buffer("centres", centres)

    def forward(
        self,
        vectors: Tensor,
        environments: Tensor,
        neighbours: Tensor,
        centres: Tensor,
    ) -> Tensor:
        """Sums, "e d", of the arguments of `PowerSpectra.forward`."""
        distances = torch.linalg.vector_norm(vectors, dim=1)
        apart = (distances.unsqueeze(1) - self.centres) / self.width
        into = ((distances - self.cutoff + self.smoothing) / self.smoothing).clamp(0, 1)
        fade = 0.5 * (1 + torch.cos(math.pi * into))
        functions = torch.exp(-0.5 * apart * apart) * fade.unsqueeze(1)
        species = self.places.index_select(0, neighbours)
        rows = environments * self.n_species + species
        n_env = centres.shape[0]
        blank = functions.new_zeros(n_env * self.n_species, self.n_centres)
        return blank.index_add(0, rows, functions).view(n_env, -1)


@no_type_check
def _shell(
    mine: Tensor, environments: Tensor, n_env: int, harmonics: Tensor, radial: Tensor
) -> tuple[Tensor, Tensor]:
    """Y and R of the pairs that are `mine`, as "e p m" and "e p (l, n)", zeros between."""
    chosen = mine.nonzero().squeeze(1)
    homes = environments.index_select(0, chosen)
    homes, order = torch.sort(homes, stable=True)
    chosen = chosen.index_select(0, order)
    counts = torch.bincount(homes, minlength=n_env)
    most = int(counts.max())
    begin = counts.cumsum(0) - counts
    within = torch.arange(homes.shape[0], device=homes.device)
    slot = homes * most + within - begin.index_select(0, homes)
    y = harmonics.new_zeros(n_env * most, harmonics.shape[1])
    y = y.index_copy(0, slot, harmonics.index_select(0, chosen))
    r = radial.new_zeros(n_env * most, radial.shape[1])
    r = r.index_copy(0, slot, radial.index_select(0, chosen))
    return (
        y.view(n_env, most, harmonics.shape[1]),
        r.view(n_env, most, radial.shape[1]),
    )


def _entries(
    layout: Layout, n_species: int, n_max: int, l_max: int
) -> tuple[Tensor, Tensor]:
    """Which products [l, (a n), (b n')] are the entries of a spectrum, and times what."""
    size = n_species * n_max
    orders = torch.arange(l_max + 1)
    # featomic's sign: the scalar product of two l is (-1)^l / (2 l + 1)^1/2 of it
    norm = (1 - 2 * (orders % 2)) / (2 * orders + 1).double().sqrt()
    upper = torch.triu_indices(n_max, n_max)
    every = torch.cartesian_prod(torch.arange(n_max), torch.arange(n_max)).mT
    entries, weights = [], []
    for (a, b), _ in layout.pairs():
        i, j = upper if a == b else every
        within = (a * n_max + i) * size + b * n_max + j
        twice = torch.full(i.shape, math.sqrt(2.0), dtype=torch.float64)
        if a == b:
            twice[i == j] = 1.0
        entries.append((orders.unsqueeze(1) * size**2 + within).flatten())
        weights.append((norm.unsqueeze(1) * twice).flatten())
    return torch.cat(entries), torch.cat(weights)
