"""An oracle as an ASE calculator, for dynamics at the level of that oracle."""

from collections.abc import Sequence

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mfal.oracles.oracle import Oracle, OracleError


class OracleCalculator(Calculator):
    """Energy, forces and stress of an oracle, as far as its level asks for them.

    Raises:
        OracleError: where the oracle does, or if it did not converge.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (of ASE)

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """ASE's protocol: all properties of the structure, eV and A.

        Raises:
            ValueError: no structure.
            OracleError: see the class.
        """
        if atoms is None:
            raise ValueError("give the structure to be calculated")
        super().calculate(atoms, properties, system_changes)
        calculation = self.oracle(atoms)
        if not calculation.converged:
            raise OracleError("not_converged", "the code did not report convergence")
        label = calculation.label
        self.results = {name: getattr(label, name) for name in label.quantities}
