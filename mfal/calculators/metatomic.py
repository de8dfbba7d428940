"""Potentials as metatomic models, for the engines that run those (LAMMPS, i-PI, ...)."""

import os
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mfal.calculators.metatomic_descriptors import longest_cutoff
from mfal.calculators.metatomic_model import MetatomicPotential
from mfal.data.files import write_atomically
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential


def export_metatomic(model: Potential, path: str | os.PathLike[str]) -> dict[str, str]:
    """Writes a potential as a metatomic model; says which level each output is of.

    The outputs are `energy` and `energy_uncertainty` of the highest level, and of each
    level with its name behind a slash, e.g. `energy/pbe`: in eV, of atoms or of systems,
    those of `MfalCalculator` (standalone; sigmas epistemic, times the recalibration of
    the model). The sigma of one atom's energy comes from the same posterior, but no
    label can judge it.

    Raises:
        TypeError: an exact potential, or a descriptor without a TorchScript module.
        ValueError: metatomic is not installed.
        OSError: the file cannot be written; what was there before stands.
    """
    if not isinstance(model, WeightPotential):
        raise TypeError(
            f"the {type(model).__name__} of one molecule cannot be exported: fit a "
            "sparse potential to its labels (`mfal fit --model sparse`)"
        )
    check_engines()
    from metatomic.torch import AtomisticModel, ModelCapabilities, ModelOutput

    level_of = output_levels(model.levels)
    cutoff = longest_cutoff(d for d, _ in model.feature_map.parts)
    capabilities = ModelCapabilities(
        outputs={
            name: ModelOutput(
                unit="eV", sample_kind="atom", description=f"level {level}"
            )
            for name, level in level_of.items()
        },
        atomic_types=list(model.feature_map.species),
        interaction_range=cutoff,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    places = {name: model.level_index(level) for name, level in level_of.items()}
    module = MetatomicPotential(model, places, cutoff).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # torch would rather have torch.export; metatomic runs TorchScript
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        file = Path(folder, "model.pt")
        AtomisticModel(module, _metadata(model), capabilities).save(file)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, file.read_bytes())
    return level_of


def output_levels(levels: tuple[str, ...]) -> dict[str, str]:
    """The level of each output.

    >>> output_levels(("emt", "pbe"))["energy"]
    'pbe'
    >>> list(output_levels(("emt", "pbe")))[:3]
    ['energy', 'energy/emt', 'energy/pbe']
    """
    return {
        f"{quantity}{variant}": level
        for quantity in ("energy", "energy_uncertainty")
        for variant, level in [
            ("", levels[-1]),
            *((f"/{name}", name) for name in levels),
        ]
    }


def check_engines() -> None:
    """Refuse to go on without metatomic.

    Raises:
        ValueError: names the extra that installs it.
    """
    if find_spec("metatomic") is None:
        raise ValueError(
            "an export needs metatomic, which is not installed: pip install "
            "'mfal[engines]'"
        )


def _metadata(model: WeightPotential) -> Any:
    from metatomic.torch import ModelMetadata

    counts = ", ".join(
        f"{level}: "
        + ", ".join(f"{n} {quantity}" for quantity, n in known.items() if n)
        for level, known in model.training.n_labels.items()
    )
    return ModelMetadata(
        name=f"{type(model).__name__} of mfal, levels {', '.join(model.levels)}",
        description=f"Gaussian process potential fitted to labels of {counts}.",
        references={
            "architecture": ["Bartok, Csanyi (2015), Int. J. Quantum Chem. 115, 1051"],
            "model": ["Kennedy, O'Hagan (2000), Biometrika 87, 1"],
        },
    )
