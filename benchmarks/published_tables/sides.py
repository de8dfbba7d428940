"""The two sides of the comparison: how each fits and evaluates, from the same files."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import mfal
from benchmarks.published_tables.measuring import kept, measured

MFAL = (sys.executable, "-c", "from mfal.cli import main; main()")
"""The command line of this environment."""
PEER = Path(__file__).with_name("peer.py")
KEYS = {"energy_parameter_name": "REF_energy", "force_parameter_name": "REF_forces"}
NO_KEYS = {"virial_parameter_name": "none", "stress_parameter_name": "none"}
SOAP = {
    "cutoff": 5.0,
    "cutoff_transition_width": 0.5,
    "n_max": 8,
    "l_max": 6,
    "atom_sigma": 0.5,
    "zeta": 2,
    "delta": 1.0,
    "f0": 0.0,
    "covariance_type": "dot_product",
    "sparse_method": "cur_points",
}
"""What gap_fit is told of its descriptor and kernel (A, eV)."""


class Side(Protocol):
    """One program. Its commands run in a folder of their own; the evaluation leaves
    `evaluation.json` there, in the form of `mfal evaluate --json`."""

    @property
    def name(self) -> str: ...

    def settings(self) -> dict[str, Any]: ...

    def fit_command(self, train: Path) -> list[str]: ...

    def evaluate_command(self, test: Path) -> list[str]: ...

    def fit_record(self, folder: Path) -> dict[str, Any]: ...

    def versions(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Mfal:
    """`mfal fit --model sparse` and `mfal evaluate`."""

    config: Path | None = None
    name: str = "mfal"

    def settings(self) -> dict[str, Any]:
        text = None if self.config is None else self.config.read_text()
        return {"config": text, "mfal": version("mfal"), "sources": _sources()}

    def fit_command(self, train: Path) -> list[str]:
        words = ["fit", str(train), "--model", "sparse", "--output", "model"]
        words += ["--json", "fit.json"]
        if self.config is not None:
            words += ["--config", str(self.config.absolute())]
        return [*MFAL, *words]

    def evaluate_command(self, test: Path) -> list[str]:
        return [*MFAL, "evaluate", "model", str(test), "--json", "evaluation.json"]

    def fit_record(self, folder: Path) -> dict[str, Any]:
        return json.loads((folder / "fit.json").read_text())

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("mfal", "torch", "featomic", "numpy")}


@dataclass(frozen=True)
class GapFit:
    """gap_fit and quippy in the environment of another Python, energies and forces.

    `sigma` are the errors of energies (eV per atom) and forces (eV/A) that gap_fit is
    to expect.
    """

    python: Path
    n_sparse: int = 1000
    sigma: Sequence[float] = (0.001, 0.05)
    name: str = "gap_fit"

    def settings(self) -> dict[str, Any]:
        return {"gap_fit": self._options()}

    def fit_command(self, train: Path) -> list[str]:
        words = [f"{name}={value}" for name, value in self._options().items()]
        return [str(self._bin("gap_fit")), f"at_file={train}", *words]

    def evaluate_command(self, test: Path) -> list[str]:
        words = ["gap.xml", str(test), "evaluation.json"]
        return [str(self._bin(self.python.name)), str(PEER), *words]

    def fit_record(self, folder: Path) -> dict[str, Any]:
        return {}

    def versions(self) -> dict[str, str]:
        return {}  # its own environment tells them, with the evaluation

    def _options(self) -> dict[str, Any]:
        soap = " ".join(
            f"{k}={v}" for k, v in (SOAP | {"n_sparse": self.n_sparse}).items()
        )
        return {
            "gap": f"{{soap {soap}}}",
            "default_sigma": f"{{{self.sigma[0]} {self.sigma[1]} 0.0 0.0}}",
            "e0_method": "average",
            "sparse_jitter": 1e-8,
            **KEYS,
            **NO_KEYS,
            "do_copy_at_file": "F",
            "sparse_separate_file": "T",
            "rnd_seed": 1,
            "gp_file": "gap.xml",
        }

    def _bin(self, name: str) -> Path:
        # absolute, not resolve: the link to the interpreter is what marks a venv
        return self.python.expanduser().absolute().with_name(name)


def fitted(side: Side, train: Path, folder: Path, threads: int) -> dict[str, Any]:
    """The cost of a fit, and what it says of itself; kept in the folder."""

    def fit() -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)  # an evaluation of an older fit too
        folder.mkdir(parents=True)
        cost = measured(side.fit_command(train), folder, "fit", threads)
        return {**cost, "record": side.fit_record(folder)}

    settings = {"threads": threads, "train": _hash(train), **side.settings()}
    return kept(folder / "fit_kept.json", settings, fit)


def compared(
    side: Side, train: Path, test: Path, folder: Path, threads: int
) -> dict[str, Any]:
    """Fit and evaluation of one side on one set, and with which versions."""
    fit = fitted(side, train, folder, threads)

    def evaluate() -> dict[str, Any]:
        cost = measured(side.evaluate_command(test), folder, "evaluate", threads)
        errors = json.loads((folder / "evaluation.json").read_text())
        versions = side.versions() | errors.pop("versions", {})
        return {**cost, "errors": errors, "versions": versions}

    settings = {"threads": threads, "test": _hash(test)}
    evaluation = kept(folder / "evaluation_kept.json", settings, evaluate)
    return {"fit": fit, "evaluation": evaluation}


def _hash(*files: Path) -> str:
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _sources() -> str:
    """Hash of mfal's code: other code has to be measured anew."""
    return _hash(*sorted(Path(mfal.__file__).parent.rglob("*.py")))
