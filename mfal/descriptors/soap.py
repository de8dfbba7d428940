"""Smooth overlap of atomic positions: the power spectrum of smeared neighbour densities."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.cell import Cell
from ase.data import atomic_numbers
from featomic import SoapPowerSpectrum
from jaxtyping import Float, Int
from torch import Tensor

from mfal.descriptors.density import (
    Density,
    DensityBasis,
    Pairs,
    densities,
    neighbours,
    stretch,
)
from mfal.descriptors.environments import VOIGT, EnergyFunction, Environments
from mfal.descriptors.power_spectrum import Contraction, Layout

_PAIRS_OF_ROWS = 512
_PAIRS_OF_ENERGIES = 1024


class Soap:
    r"""Power spectra of the neighbour density, for several cutoffs side by side.

    The density of the neighbours of species a, smeared by Gaussians of width σ and
    expanded in radial functions n and spherical harmonics lm, c_anlm, gives

        p_anbn'l = (-1)^l (2 l + 1)^-1/2 sum_m c_anlm c_bn'lm,

    each unordered pair (an, bn') once, times √2 if its two differ, so that the dot
    product of two spectra is that of the full ones. Neighbours at distance r count
    with the weight 1 / (1 + (r / r_0)^m), r_0 = `scale` and m = `exponent`, times a
    cosine that falls to zero over the last `smoothing` A below the cutoff. Spectra are
    not normalised; those of several cutoffs stand one after the other.

    Units: A for all lengths; the spectra have none, gradients are per A.

    Source: Bartok, Kondor, Csanyi (2013), eqs. 31-36; Willatt, Musil, Ceriotti (2018),
    eq. 6, for the radial scaling; computed by featomic.

    Args:
        species: chemical symbols that may occur in a structure.
        max_radial: number of radial functions; like `max_angular` and `width` one
            for all cutoffs, or one for each.

    Raises:
        ValueError: no or unknown species, a length that is not positive, a structure
            that holds other species, positions that are not finite, a periodic
            direction without a cell vector.
    """

    def __init__(
        self,
        species: Sequence[str],
        *,
        cutoffs: Sequence[float] = (5.0,),
        max_radial: int | Sequence[int] = 8,
        max_angular: int | Sequence[int] = 6,
        width: float | Sequence[float] = 0.5,
        smoothing: float = 0.5,
        exponent: float = 4.0,
        scale: float = 2.0,
        centre_weight: float = 1.0,
    ) -> None:
        unknown = [s for s in species if s not in atomic_numbers]
        if not species or unknown:
            raise ValueError(f"give chemical symbols as species, got {list(species)}")
        radials = _per_cutoff("max_radial", max_radial, len(cutoffs))
        angulars = _per_cutoff("max_angular", max_angular, len(cutoffs))
        widths = _per_cutoff("width", width, len(cutoffs))
        lengths = {"width": min(widths, default=1.0), "smoothing": smoothing}
        lengths |= {"scale": scale}
        lengths |= {f"cutoff {k}": c for k, c in enumerate(cutoffs)}
        for name, length in lengths.items():
            if not length > 0:
                raise ValueError(f"{name} must be a positive length (A), got {length}")
        if not cutoffs or min(radials) < 1 or min(angulars) < 0:
            raise ValueError(
                "give at least one cutoff, max_radial >= 1 and max_angular >= 0"
            )
        self.species = tuple(sorted(set(species), key=lambda s: atomic_numbers[s]))
        self.cutoffs = tuple(float(c) for c in cutoffs)
        self._options: dict[str, Any] = {
            "max_radial": max_radial if isinstance(max_radial, int) else radials,
            "max_angular": max_angular if isinstance(max_angular, int) else angulars,
            "width": width if isinstance(width, float | int) else widths,
            "smoothing": smoothing,
            "exponent": exponent,
            "scale": scale,
            "centre_weight": centre_weight,
        }
        hypers = [
            {
                "cutoff": {
                    "radius": cutoff,
                    "smoothing": {"type": "ShiftedCosine", "width": smoothing},
                },
                "density": {
                    "type": "Gaussian",
                    "width": spread,
                    "center_atom_weight": centre_weight,
                    "scaling": {
                        "type": "Willatt2018",
                        "exponent": exponent,
                        "rate": 1.0,
                        "scale": scale,
                    },
                },
                "basis": {
                    "type": "TensorProduct",
                    "max_angular": l_max,
                    "radial": {"type": "Gto", "max_radial": n_max - 1},
                },
            }
            for cutoff, spread, n_max, l_max in zip(
                self.cutoffs, widths, radials, angulars, strict=True
            )
        ]
        self._calculators = [SoapPowerSpectrum(**h) for h in hypers]
        self._bases = [
            DensityBasis(*each) for each in zip(hypers, radials, angulars, strict=True)
        ]
        self._known: tuple[Tensor, list[Contraction]] | None = None
        self._numbers = [atomic_numbers[s] for s in self.species]
        begin, self._layouts = 0, []
        for n_max, l_max in zip(radials, angulars, strict=True):
            self._layouts.append(Layout(self._numbers, n_max, l_max, begin))
            begin = self._layouts[-1].end

    @property
    def size(self) -> int:
        """Number of entries of the descriptor of one environment."""
        return self._layouts[-1].end

    @property
    def expansions(self) -> tuple[tuple[DensityBasis, Layout], ...]:
        """The basis of the density of each cutoff, and where its spectrum stands."""
        return tuple(zip(self._bases, self._layouts, strict=True))

    def specification(self) -> dict[str, object]:
        """The name of the descriptor, its species, cutoffs and options."""
        return {
            "name": "soap",
            "species": list(self.species),
            "cutoffs": list(self.cutoffs),
            **self._options,
        }

    def __call__(self, atoms: Atoms) -> Environments:
        """One environment per atom, with gradients and strain derivatives."""
        self._check(atoms)
        cell = bool(atoms.pbc.any())
        wanted = ["positions", "strain"] if cell else ["positions"]
        parts = [self._blocks(c, atoms, wanted) for c in self._calculators]
        n = len(atoms)
        centre, atom = _all_pairs(parts, n)
        place = np.zeros((n, n), dtype=np.int64)
        place[centre, atom] = np.arange(len(centre))
        values = np.zeros((n, self.size))
        gradients = np.zeros((len(centre), 3, self.size))
        strain = np.zeros((n, 6, self.size))
        for layout, blocks in zip(self._layouts, parts, strict=True):
            for key, block in blocks:
                columns, rows, weights = layout.columns(key, block.properties)
                who = block.samples.values[:, 1]
                values[who, columns] = block.values[:, rows] * weights
                slope = block.gradient("positions")
                samples = slope.samples.values
                where = place[who[samples[:, 0]], samples[:, 2]]
                gradients[where, :, columns] = slope.values[:, :, rows] * weights
                if cell:
                    slope = block.gradient("strain")
                    whose = who[slope.samples.values[:, 0]]
                    stretched = slope.values[..., rows] * weights
                    for v, (i, j) in enumerate(VOIGT):
                        both = 0.5 * (stretched[:, i, j] + stretched[:, j, i])
                        strain[whose, v, columns] = both
        return Environments(
            values=torch.from_numpy(values),
            species=torch.from_numpy(atoms.numbers).long(),
            pair_environment=torch.from_numpy(centre).long(),
            pair_atom=torch.from_numpy(atom).long(),
            gradients=torch.from_numpy(gradients),
            n_atoms=n,
            strain=torch.from_numpy(strain) if cell else None,
        )

    def values(self, atoms: Atoms) -> Float[Tensor, "n_env d"]:
        """The descriptors without gradients."""
        self._check(atoms)
        values = np.zeros((len(atoms), self.size))
        for layout, calculator in zip(self._layouts, self._calculators, strict=True):
            for key, block in self._blocks(calculator, atoms, []):
                columns, rows, weights = layout.columns(key, block.properties)
                who = block.samples.values[:, 1]
                values[who, columns] = block.values[:, rows] * weights
        return torch.from_numpy(values)

    def projected(
        self, atoms: Atoms, projection: Float[Tensor, "d p"], *, strain: bool = True
    ) -> Environments:
        """The environments of `__call__` times a projection, at a fraction of the cost.

        Without `strain` no strain derivatives are computed.
        """
        self._check(atoms)
        n, d = len(atoms), projection.shape[1]
        pairs, chunks = self._densities(atoms, _PAIRS_OF_ROWS)
        itself = np.arange(n) * (n + 1)
        keys = np.unique(np.concatenate([pairs.environment * n + pairs.atom, itself]))
        centre, pair_atom = np.divmod(keys, n)
        known = torch.from_numpy(keys)
        values = torch.zeros(n, d, dtype=torch.float64)
        # one row more than there are pairs: for the places that are left over
        gradients = torch.zeros(len(keys) + 1, 3, d, dtype=torch.float64)
        strains = torch.zeros(n, 6, d, dtype=torch.float64)
        with_strain = strain and bool(atoms.pbc.any())
        contractions = self._contractions(projection)
        first = 0
        for chunk in chunks:
            who = torch.arange(first, first + len(chunk[0].coefficients))
            first += len(who)
            own = torch.searchsorted(known, who * n + who)
            for part, contraction in zip(chunk, contractions, strict=True):
                values[who] += contraction.project(part.coefficients)
                to_values = contraction.slopes(part.coefficients)
                for s, shell in enumerate(part.shells):
                    pulls = part.slopes(s).flatten(1, 2) @ to_values[:, s]
                    each = pulls.view(*shell.atom.shape, 3, d)
                    where = torch.searchsorted(known, who.unsqueeze(1) * n + shell.atom)
                    where[shell.distance >= part.basis.cutoff] = len(keys)
                    gradients.index_add_(0, where.flatten(), each.flatten(0, 1))
                    gradients.index_add_(0, own, each.sum(1), alpha=-1.0)
                    if with_strain:
                        strains[who] += stretch(shell.vector) @ pulls
        return Environments(
            values=values,
            species=torch.from_numpy(atoms.numbers).long(),
            pair_environment=torch.from_numpy(centre),
            pair_atom=torch.from_numpy(pair_atom),
            gradients=gradients[:-1],
            n_atoms=n,
            strain=strains if with_strain else None,
            projection=projection,
        )

    def pulled_back(
        self,
        atoms: Atoms,
        projection: Float[Tensor, "d p"],
        energies: EnergyFunction,
        *,
        strain: bool = True,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"], Float[Tensor, " 6"] | None]:
        """Energies of the environments, forces (eV/A), dE/dstrain (eV).

        `energies` maps projected descriptors and species to the energy of each
        environment and its slope in the projected descriptor. No gradient of a
        descriptor is formed.
        """
        self._check(atoms)
        _, chunks = self._densities(atoms, _PAIRS_OF_ENERGIES)
        contractions = self._contractions(projection)
        species = torch.from_numpy(atoms.numbers).long()
        energy: list[Tensor] = []
        forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
        virial = torch.zeros(6, dtype=torch.float64)
        with_strain = strain and bool(atoms.pbc.any())
        first = 0
        for chunk in chunks:
            who = slice(first, first + len(chunk[0].coefficients))
            first = who.stop
            parts = [
                c.project(e.coefficients)
                for c, e in zip(contractions, chunk, strict=True)
            ]
            found, slope = energies(torch.stack(parts).sum(0), species[who])
            energy.append(found)
            for part, contraction in zip(chunk, contractions, strict=True):
                back = contraction.pull_back(part.coefficients, slope)
                for s, shell in enumerate(part.shells):
                    pull = part.pulled(s, back)
                    forces[who] += pull.sum(1)
                    forces.index_add_(
                        0, shell.atom.flatten(), pull.flatten(0, 1), alpha=-1.0
                    )
                    if with_strain:
                        moved = stretch(shell.vector.flatten(0, 1))
                        virial += moved @ pull.flatten()
        return torch.cat(energy), forces, virial if with_strain else None

    def _densities(
        self, atoms: Atoms, pairs_at_once: int
    ) -> tuple[Pairs, Iterator[tuple[Density, ...]]]:
        """The neighbours within the largest cutoff, and expansions for each cutoff."""
        largest, n = max(self.cutoffs), len(atoms)
        pairs = neighbours(_plain(atoms, largest), largest)
        at_once = max(1, pairs_at_once * n // max(len(pairs.atom), 1))
        each = [
            densities(
                basis, pairs.within(basis.cutoff), self._numbers, atoms.numbers, at_once
            )
            for basis in self._bases
        ]
        return pairs, zip(*each, strict=True)

    def _contractions(self, projection: Float[Tensor, "d p"]) -> list[Contraction]:
        """The tensors of a projection for each cutoff; those of the last are kept."""
        if self._known is None or self._known[0] is not projection:
            parts = []
            for layout, basis in zip(self._layouts, self._bases, strict=True):
                blocks = {pair: projection[rows] for pair, rows in layout.pairs()}
                shape = (len(self._numbers), basis.n_max, basis.l_max)
                parts.append(Contraction(blocks, *shape))
            self._known = (projection, parts)
        return self._known[1]

    def __reduce__(self) -> tuple[Any, ...]:
        """Built again from its specification: what computes it does not pickle."""
        return soap_from_specification, (self.specification(),)

    def _blocks(
        self, calculator: SoapPowerSpectrum, atoms: Atoms, gradients: list[str]
    ) -> list:
        found = calculator.compute(
            _plain(atoms, max(self.cutoffs)), gradients=gradients
        )
        return [
            (tuple(int(v) for v in key), block)
            for key, block in found.items()
            if len(block.samples)
        ]

    def _check(self, atoms: Atoms) -> None:
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if unknown:
            raise ValueError(
                f"this descriptor knows the species {', '.join(self.species)}, not "
                f"{', '.join(unknown)}: fit the model to data that hold them"
            )
        if not np.isfinite(atoms.positions).all():
            raise ValueError("a position is not finite")
        if not np.isfinite(atoms.cell.array).all():
            raise ValueError("a cell vector is not finite")
        if np.linalg.matrix_rank(atoms.cell.array[atoms.pbc]) < atoms.pbc.sum():
            raise ValueError(
                "the cell vectors of the periodic directions must be independent: set "
                "the cell, or switch pbc off"
            )


def soap_from_specification(specification: Mapping[str, Any]) -> Soap:
    """The descriptor that `Soap.specification` describes, from its plain JSON values."""
    options = {k: v for k, v in specification.items() if k not in ("name", "species")}
    return Soap(specification["species"], **options)


def _per_cutoff(name: str, given: Any, n: int) -> list[Any]:
    """One value for each cutoff, from one for all or from as many.

    Raises:
        ValueError: another number of values.
    """
    values = [given] * n if np.ndim(given) == 0 else list(given)
    if len(values) != n:
        raise ValueError(
            f"give one {name} for all or one for each of the {n} cutoffs, got {values}"
        )
    return values


def _plain(atoms: Atoms, cutoff: float) -> Atoms:
    """Species, positions, cell and periodicity only: featomic reads no more.

    It knows structures that are periodic in all directions or in none. Where some are
    not, they get cell vectors at right angles to the others that keep images beyond
    the cutoff.
    """
    cell = atoms.cell.array
    if atoms.pbc.any() and not atoms.pbc.all():
        own = atoms.pbc[:, None]
        across = Cell(np.where(own, cell, 0.0)).complete().array
        extent = np.ptp(atoms.positions @ across.T, axis=0)[:, None]
        cell = np.where(own, cell, across * (extent + cutoff + 1.0))
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=atoms.pbc.any())


def _all_pairs(
    parts: Sequence[list], n: int
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Pairs (environment, atom) that any block has a gradient for, sorted by atom."""
    seen = np.zeros((n, n), dtype=bool)  # [atom, environment]
    for blocks in parts:
        for _, block in blocks:
            samples = block.gradient("positions").samples.values
            who = block.samples.values[samples[:, 0], 1]
            seen[samples[:, 2], who] = True
    atom, centre = np.nonzero(seen)
    return centre, atom
