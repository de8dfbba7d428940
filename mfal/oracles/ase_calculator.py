"""Oracles that are ASE calculators: EMT, and any other by the path of its factory."""

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import ase
from ase import Atoms
from ase.calculators.calculator import (
    BaseCalculator,
    CalculationFailed,
    PropertyNotImplementedError,
)

from mfal.data.dataset import Label
from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.oracles.oracle import Calculation, OracleError, label_of
from mfal.oracles.specification import check_quantities

ALLOWED_MODULES = (
    "ase.calculators.eam",
    "ase.calculators.emt",
    "ase.calculators.harmonic",
    "ase.calculators.lj",
    "ase.calculators.morse",
    "ase.calculators.tip3p",
    "ase.calculators.tip4p",
    "mfal.calculators",
    "tblite.ase",
)
"""Modules from which a file may name a factory, unless the user allows others.

Of ASE only the potentials that compute by themselves: the arguments of the others can
name a command to be run.
"""


@dataclass(frozen=True)
class Emt:
    """Effective medium theory as in ASE: a fast toy for a few metals.

    Source: Jacobsen, Stoltze, Norskov 1996.
    """

    counts_electrons: ClassVar[bool] = False
    fidelity: Fidelity

    def __post_init__(self) -> None:
        check_quantities(self.fidelity, QUANTITIES, "EMT")

    def check(self, species: Collection[str]) -> None:
        from ase.calculators.emt import parameters  # loads much of SciPy

        for symbol in species:
            if symbol not in parameters:
                raise ValueError(
                    f"level {self.fidelity.name!r}: EMT knows {', '.join(parameters)}, "
                    f"not {symbol}"
                )

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        from ase.calculators.emt import EMT

        label = _label(EMT(), atoms, self.fidelity)
        return Calculation(label, converged=True, versions={"ase": ase.__version__})


@dataclass(frozen=True)
class FactoryCalculator:
    """The ASE calculator that `factory`, a path like "package.module:name", returns.

    The calculator says whether it converged by `results["converged"]` or by an
    attribute `converged`. One that raises an error instead, or that has nothing to
    converge, is declared by `raises_if_unconverged`. Each label is computed by a fresh
    calculator, unless `keep_loaded` keeps one per worker: for potentials that take
    long to load and carry nothing from one structure to the next.

    A universal potential as the low level is written

        code: python
        factory: mace.calculators:mace_mp
        arguments: {model: medium-mpa-0, device: cpu, default_dtype: float64}
        raises_if_unconverged: true   # a potential has nothing to converge
        keep_loaded: true

    with its module among the allowed ones. Its versions of code and weights belong
    into `arguments`: the identity of the level is the hash of what stands there.

    Raises:
        ValueError: a factory that is not of the form "package.module:name".
    """

    counts_electrons: ClassVar[bool] = False
    fidelity: Fidelity
    factory: str
    arguments: dict = field(default_factory=dict)
    raises_if_unconverged: bool = False
    keep_loaded: bool = False

    def __post_init__(self) -> None:
        words = [*self.module.split("."), self.function]
        if not all(word.isidentifier() and word[0] != "_" for word in words):
            raise ValueError(
                f"level {self.fidelity.name!r}: a factory is written "
                f"'package.module:name', got {self.factory!r}"
            )

    @property
    def module(self) -> str:
        return self.factory.partition(":")[0]

    @property
    def function(self) -> str:
        return self.factory.partition(":")[2]

    def check_allowed(self, allowed_modules: Collection[str]) -> None:
        """Refuse a factory of a module that is not allowed, before it is imported.

        Raises:
            ValueError: the module, and those that are allowed.
        """
        if not _within(self.module, allowed_modules):
            raise ValueError(
                f"level {self.fidelity.name!r}: the factory {self.factory!r} is not in "
                f"an allowed module ({', '.join(allowed_modules)}): if you trust it, "
                f"add {self.module!r} to `allowed_modules` (with `mfal label` and "
                "`mfal doctor`, to --allow)"
            )

    def check(self, species: Collection[str]) -> None:
        if self.keep_loaded:
            _ = self._loaded
        else:
            self._calculator()

    @cached_property
    def _loaded(self) -> BaseCalculator:
        return self._calculator()

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        calculator = self._loaded if self.keep_loaded else self._calculator()
        label = _label(calculator, atoms, self.fidelity)
        converged = getattr(calculator, "results", {}).get("converged")
        if converged is None:
            converged = getattr(calculator, "converged", None)
        if converged is None and self.raises_if_unconverged:
            converged = True
        versions = {"ase": ase.__version__, "factory": self.factory}
        return Calculation(label, converged=converged, versions=versions)

    def _calculator(self) -> BaseCalculator:
        where = f"level {self.fidelity.name!r}: factory {self.factory!r}"
        try:
            make = getattr(importlib.import_module(self.module), self.function)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ValueError(f"{where}: {error}") from None
        # a name that the module itself imported from elsewhere is no factory
        if not callable(make) or not _within(make.__module__, [self.module]):
            raise ValueError(f"{where} is not a function or class of {self.module!r}")
        try:
            calculator = make(**self.arguments)
        except TypeError as error:
            raise ValueError(f"{where} and its arguments: {error}") from None
        if not isinstance(calculator, BaseCalculator):
            raise ValueError(
                f"{where} gives a {type(calculator).__name__}, not an ASE calculator"
            )
        return calculator


def _within(module: str, allowed: Collection[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def _label(calculator: BaseCalculator, atoms: Atoms, fidelity: Fidelity) -> Label:
    values: Mapping[str, Any] = {}
    try:
        values = {q: calculator.get_property(q, atoms) for q in fidelity.quantities}
    except PropertyNotImplementedError as error:
        raise OracleError(
            "bad_specification",
            f"level {fidelity.name!r}: {type(calculator).__name__} does not give all "
            f"of {fidelity.quantities}: {error}",
        ) from None
    except CalculationFailed as error:
        raise OracleError("not_converged", str(error)) from None
    return label_of(**values)
