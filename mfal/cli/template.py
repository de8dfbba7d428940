"""A commented campaign file to start from."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mfal.oracles.manual import MANUAL
from mfal.oracles.naming import any_specification, level_of

CODES_OF_CRYSTALS = ("emt", "gpaw", "tblite", MANUAL)
PILOT = 8

HEAD = """\
# yaml-language-server: $schema=campaign.schema.json
# (`mfal schema > campaign.schema.json` writes it: editors then complete and check keys)
#
# A campaign: `mfal run {file}`; the same command resumes it. What is not `system`,
# `levels` or `budget` may be left out: what stands here are the defaults.
name: {name}
seed: 0                     # the same seed makes the same choices

system:
  {system}
  charge: 0
  multiplicity: 1           # 2S + 1

levels:                     # from low (cheap) to high (accurate), one or more
{levels}
  # Other levels:
  #   any functional of PySCF, for molecules:
  #     oracle: {{code: pyscf, method: PBE, basis: def2-SVP, density_fit: true}}
  #   GPAW, plane waves; the same code at two cutoffs and meshes is a ladder of levels:
  #     oracle: {{code: gpaw, xc: PBE, setups: paw, smearing: 0.1, cutoff: 400,
  #              kpts: {{density: 3.5, gamma: true}}}}
  #   a universal potential, or any other ASE calculator, by the path of its factory
  #   (its module has to be allowed, see execution.allowed_modules):
  #     oracle: {{code: python, factory: "mace.calculators:mace_mp",
  #              arguments: {{model: small, device: cpu, default_dtype: float64}},
  #              raises_if_unconverged: true, keep_loaded: true}}
  #   VASP, Quantum ESPRESSO, ORCA or anything else, run by hand or by a queue: the
  #   campaign writes structures to its folder `manual` and pauses until results are
  #   there (it then needs `budget.costs`):
  #     oracle: {{code: manual, name: VASP PBE, settings: {{ENCUT: 520, KSPACING: 0.2}}}}
  #   labels that were computed before:
  #     oracle: {{code: replay, path: labels.extxyz}}

pool:                       # the geometries to choose from
{pool}
targets: {part}                 # of the pool: where the high level is to be known
pilot: 8                    # geometries labelled at every level first

budget:                     # one of highest_labels, cpu_seconds, cost
{budget}
validation: {part}              # of the pool: held-out high labels, bought on top; 0: none
comparison: true            # at the end, with random and single-level labels; no labels

model:
{model}

acquisition:
  name: target_information  # or integrated_variance, parameter_information,
                            # maximum_variance, random
  tolerance: {{energy: 0.02, forces: 0.1}}   # eV, eV/A: the accuracy that is wanted
  batch: 8                  # labels chosen at a time
  low_level_first_above: 30 # cost ratio above which the pool is labelled low first
  deployment: standalone    # or at_hand: the lowest level runs in production, too

# stopping:                 # before the budget is spent: when all that is given holds
#   energy_mae: 0.002       # eV/atom
#   forces_rmse: 0.1        # eV/A
#   ece: 0.05               # calibration
#   patience: 2             # steps in a row

execution:
  workers: 2                # labels at once
  timeout: 600              # s per label
  # memory: 4               # GiB per label in the workers of mfal
  max_attempts: 2
  max_failed_fraction: 0.3  # the campaign stops above this
  # allowed_modules: [mace] # of which `code: python` may name a factory
"""

MOLECULAR_MODEL = """\
  kind: exact               # one molecule; or sparse, for any composition
  kernel: auto              # rbf, matern52, or auto: the evidence decides
  permutations: auto        # of like atoms: auto, none, or a list of atom orders"""
CRYSTAL_MODEL = """\
  kind: sparse              # any composition, periodic or not"""

DYNAMICS = """\
  sampler: md               # or `file` with `path: pool.extxyz`
  level: {low}              # whose forces drive the dynamics
  size: 400
  temperature: 500          # K
  timestep: 0.5             # fs
  interval: 20              # steps between two geometries
  equilibration: 1000       # steps before the first
  friction: 0.01            # 1/fs, of the Langevin thermostat"""
RATTLED = """\
  sampler: rattle           # copies of the system with atoms displaced; or md, or file
  size: 400
  rattle: 0.1               # A, width of the displacements"""
STRAINED = """
  strain: 0.03              # of the cell, at most
  supercell: [1, 1, 1]"""
FROM_FILE = """\
  sampler: file             # or `md`: dynamics at one of the levels
  path: {path}
  size: {size}                 # the first so many structures of the file"""


def campaign_text(
    levels: Sequence[str],
    *,
    molecule: str | None = None,
    file: str | None = None,
    periodic: bool = False,
    pool: tuple[str, int] | None = None,
    name: str = "campaign",
    path: str = "campaign.yaml",
) -> str:
    """The YAML of a campaign of these levels (names as in `mfal label`, low to high).

    A name that stands for no code is a level by hand. `pool` is a file and how many
    structures it holds.

    Raises:
        ValueError: a level that is named twice, or cannot label such structures; a file
            of too few structures.
    """
    found = level_specifications(levels)
    by_hand = [n for n, oracle in found.items() if oracle["code"] == MANUAL]
    size = 400 if pool is None else min(400, pool[1])
    part = min(40, size // 5)
    if size - 2 * part < PILOT:
        raise ValueError(f"--pool holds {size} structures: give one of 13 at least")
    if pool is not None:
        drawn = FROM_FILE.format(path=_plain(pool[0]), size=size)
    elif periodic or by_hand:
        drawn = RATTLED + (STRAINED if periodic else "")
    else:
        drawn = DYNAMICS.format(low=_plain(next(iter(found))))
    return HEAD.format(
        name=_plain(name),
        file=path,
        system=f"file: {_plain(file)}" if file else f"molecule: {_plain(molecule)}",
        levels="\n".join(
            f"  - name: {_plain(n)}\n    oracle: {_flow(oracle)}\n"
            f"    quantities: [{', '.join(_quantities(n, oracle, periodic))}]"
            for n, oracle in found.items()
        ),
        pool=drawn,
        part=part,
        budget=_budget(list(found), bool(by_hand)),
        model=CRYSTAL_MODEL if periodic else MOLECULAR_MODEL,
    )


def level_specifications(levels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name of each level in the file -> its oracle.

    METHOD/BASIS is called METHOD where that is clear.

    Raises:
        ValueError: a name that stands twice, or is nearly that of a code.
    """
    names = [level.strip() for level in levels]
    methods = [name.partition("/")[0].lower() for name in names]
    found: dict[str, dict[str, Any]] = {}
    for name, method in zip(names, methods, strict=True):
        short = method if methods.count(method) == 1 else name.lower()
        if not short or short in found:
            raise ValueError(f"--levels names {name!r} twice, or nothing: give others")
        found[short] = any_specification(name)
    return found


def _quantities(
    level: str, oracle: Mapping[str, Any], periodic: bool
) -> tuple[str, ...]:
    """What a level can give; of a crystal, the stress too."""
    if periodic and oracle["code"] not in CODES_OF_CRYSTALS:
        raise ValueError(
            f"level {level!r}: {oracle['code']} does not run periodic structures: "
            "choose other --levels, e.g. gpaw-coarse,gpaw-fine"
        )
    wanted = ("energy", "forces", "stress") if periodic else None
    return level_of(level, oracle, wanted).quantities


def _budget(levels: Sequence[str], declared: bool) -> str:
    costs = ", ".join(f"{_plain(n)}: {10**i}" for i, n in enumerate(levels))
    cost = 40 * 10 ** (len(levels) - 1)
    if declared:
        return f"""\
  cost: {cost}                 # in the units of `costs`
  costs: {{{costs}}}   # of one label, as you count it"""
    return f"""\
  highest_labels: 40        # the measured cost of so many labels of the highest level
  # cpu_seconds: 3600
  # or declared costs:
  # cost: {cost}
  # costs: {{{costs}}}"""


def _plain(value: str | None) -> str:
    """A word as YAML reads it back."""
    return yaml.safe_dump(value, width=1000).removesuffix("...\n").strip()


def _flow(oracle: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(
        dict(oracle), default_flow_style=True, sort_keys=False, width=1000
    )
    return text.strip()
