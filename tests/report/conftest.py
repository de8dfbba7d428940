"""The results of a campaign that never ran, with numbers such as ethanol gives."""

import copy
import math

import numpy as np
import pytest
from pictured import stored

from mfal.report import write_report

LOW, HIGH = "gfn2", "pbe"
N_TEST, N_ATOMS, TOTAL = 40, 9, 220.0


def normal_cdf(x):
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def shares(z, nominal):
    """Share of the errors inside the central interval of each nominal share."""
    inside = 2 * normal_cdf(np.abs(z)) - 1
    return [float((inside <= p).mean()) for p in nominal]


def rows_of(rng, reference, error, spread, unit):
    """Metrics, parity and calibration of predictions with errors of this size."""
    n = len(reference)
    sigma = error * np.exp(0.25 * rng.standard_normal(n))
    difference = sigma * rng.standard_normal(n)
    z, raw = difference / sigma, spread * difference / sigma
    nominal = [round(0.05 * i, 2) for i in range(1, 20)]
    empirical = shares(z, nominal)
    metrics = {
        "mae": unit * float(np.abs(difference).mean()),
        "rmse": unit * float(np.sqrt((difference**2).mean())),
        "max": unit * float(np.abs(difference).max()),
        "nll": float((0.5 * z**2 + np.log(unit * sigma) + 0.919).mean()),
        "coverage_68": shares(z, [0.6827])[0],
        "coverage_95": shares(z, [0.95])[0],
        "ece": float(np.abs(np.subtract(empirical, nominal)).mean()),
        "z_std": float(z.std()),
    }
    parity = {
        "reference": reference.tolist(),
        "predicted": (reference + difference).tolist(),
        "sigma": sigma.tolist(),
    }
    calibration = {
        "nominal": nominal,
        "empirical": empirical,
        "empirical_raw": shares(raw, nominal),
    }
    return metrics, parity, calibration


def evaluation(rng):
    energies = 0.025 * rng.standard_normal(N_TEST)
    energies -= energies.mean()
    forces = 1.3 * rng.standard_normal(N_TEST * 3 * N_ATOMS)
    made = {"n_structures": N_TEST}
    for mode, force_error, energy_error in (
        ("standalone", 0.18, 0.0035),
        ("at_hand", 0.05, 0.0011),
    ):
        f = rows_of(rng, forces, force_error, 1.5, 1.0)
        e = rows_of(rng, energies, energy_error, 0.7, 1000.0)
        made[mode] = {
            "energy": e[0],
            "forces": f[0],
            "parity": {"energy": e[1], "forces": f[1]},
            "calibration": {"energy": e[2], "forces": f[2]},
        }
    return made


def curve(rng, final):
    """Pilot of 8, then three high-level labels a step; held-out errors now and then."""
    records = []
    counts = [8, 8, *range(11, 36, 3)]
    for i, n_high in enumerate(counts):
        low = 0.05 if i == 0 else 1.2
        force = 0.62 * n_high**-0.36 * (1 + 0.04 * rng.standard_normal())
        energy = 16.0 * n_high**-0.45 * (1 + 0.06 * rng.standard_normal())
        spread = 0.9 / math.sqrt(n_high)
        heldout = {
            "standalone": {"energy": {"mae": 0.8 * energy}, "forces": {"mae": force}},
            "at_hand": {
                "energy": {"mae": 9.0 * n_high**-0.6},
                "forces": {"mae": 0.33 * n_high**-0.62},
            },
        }
        cost = low + 5.9 * n_high
        records.append(
            {
                "step": i + 1,
                "phase": ("pilot", "sweep")[i] if i < 2 else "acquired",
                "cost": cost,
                "spent_per_level": {LOW: low, HIGH: cost - low},
                "n_labels": {LOW: 8 if i == 0 else 360, HIGH: n_high},
                "loo": {
                    "energy_mae": energy,
                    "energy_mae_low": energy * (1 - spread / 2),
                    "energy_mae_high": energy * (1 + spread / 2),
                    "forces_mae": 1.08 * force,
                    "forces_mae_low": 1.08 * force * (1 - spread / 3),
                    "forces_mae_high": 1.08 * force * (1 + spread / 3),
                    "forces_rmse": 1.4 * force,
                    "coverage_68": 0.66,
                    "coverage_95": 0.94,
                },
                "heldout": heldout if i % 3 == 1 else None,
                "rho": [1.0 + 0.08 / n_high + 0.004 * rng.standard_normal()],
                "rho_standard_error": [0.06 / math.sqrt(n_high)],
                "gain_per_cost": 1.4 / (i + 1),
            }
        )
    records[-1]["heldout"] = {
        mode: {q: {"mae": final[mode][q]["mae"]} for q in ("energy", "forces")}
        for mode in ("standalone", "at_hand")
    }
    return records


def campaign():
    rng = np.random.default_rng(7)
    final = evaluation(rng)
    records = curve(rng, final)
    spent = records[-1]["spent_per_level"]
    n_high = records[-1]["n_labels"][HIGH]
    errors = {m: final[m]["forces"]["mae"] for m in ("standalone", "at_hand")}
    energies = {m: final[m]["energy"]["mae"] for m in ("standalone", "at_hand")}
    return {
        "format": 1,
        "mfal_version": "0.1.0",
        "name": "ethanol",
        "finished": True,
        "stopping_reason": "the budget is spent: the next label would cost 5.9 CPU s",
        "started": "2025-03-04T09:12:44+00:00",
        "updated": "2025-03-04T09:20:31+00:00",
        "system": {"formula": "C2H6O", "n_atoms": N_ATOMS},
        "levels": [
            {
                "name": LOW,
                "oracle": {"name": "tblite", "method": "GFN2-xTB"},
                "quantities": ["energy", "forces"],
            },
            {
                "name": HIGH,
                "oracle": {"name": "pyscf", "xc": "PBE", "basis": "def2-SVP"},
                "quantities": ["energy", "forces"],
            },
        ],
        "plan": [
            "gfn2 is 1,900 times cheaper than pbe, so the pool of 360 is labelled at "
            "gfn2 first.",
            "Then pbe labels are chosen by information per measured cost.",
        ],
        "budget": {
            "unit": "CPU s",
            "total": TOTAL,
            "spent": sum(spent.values()),
            "spent_per_level": spent,
            "outside": {"validation": 236.0},
        },
        "n_labels": {
            LOW: {"done": 360, "failed": 0, "quarantined": 0},
            HIGH: {"done": n_high, "failed": 1, "quarantined": 1},
        },
        "cost_model": {
            LOW: {"mean": 0.0031, "low": 0.002, "high": 0.005, "n": 360},
            HIGH: {"mean": 5.9, "low": 5.1, "high": 6.8, "n": n_high},
        },
        "cost_ratio": 1903.2,
        "diagnosis": {
            "r2": 0.93,
            "useful": True,
            "n_pairs": 8,
            "sentence": "gfn2 is useful: on the 8 pairs of the pilot it explains 93 % "
            "of the variance of the pbe forces (leave-one-geometry-out).",
        },
        "model": {
            "kind": "exact",
            "kernels": {LOW: "matern52", HIGH: "rbf"},
            "n_permutations": 6,
            "rho": [1.0153],
            "rho_standard_error": [0.0106],
            "noise": {
                LOW: {"energy": 0.43, "forces": 0.0121},
                HIGH: {"energy": 0.21, "forces": 0.0043},
            },
            "lengthscale": {LOW: 0.914, HIGH: 1.31},
            "log_evidence": 34211.9,
            "repairs": {"jitter_raised": 0},
        },
        "learning_curve": records,
        "evaluation": final,
        "comparison": [
            {
                "name": "pbe alone, random labels",
                "n_high": 35,
                "forces_mae": 0.312,
                "energy_mae": 5.14,
                "note": "mean of 3 seeds, replayed",
            },
            {
                "name": "joint, standalone",
                "n_high": n_high,
                "forces_mae": errors["standalone"],
                "energy_mae": energies["standalone"],
                "note": None,
            },
            {
                "name": "joint, gfn2 at hand",
                "n_high": n_high,
                "forces_mae": errors["at_hand"],
                "energy_mae": energies["at_hand"],
                "note": None,
            },
        ],
        "verdict": {
            "second_level": "The second level paid: at the same cost the force error "
            "is 0.042 eV/A with gfn2 at hand, 7.4 times lower than with pbe alone.",
            "choosing": "The choosing did not pay: random pbe labels reach 0.041 eV/A.",
        },
        "failures": [
            {
                "structure": 17,
                "level": HIGH,
                "state": "quarantined",
                "kind": "not_converged",
                "message": "SCF not converged after 50 cycles (|g| = 2.1e-3)",
                "attempts": 2,
                "cost": 12.0,
            },
            {
                "structure": 203,
                "level": HIGH,
                "state": "failed",
                "kind": "timeout",
                "message": "no result after 120 s: the worker was ended",
                "attempts": 1,
                "cost": 6.1,
            },
        ],
        "bought": bought(records, rng),
        "execution": {"workers": 2, "wall_seconds": 467.0, "resumed": 1},
    }


def bought(records, rng):
    rows, n_before = [], {LOW: 0, HIGH: 0}
    for record in records:
        for level in (LOW, HIGH):
            for rank in range(record["n_labels"][level] - n_before[level]):
                acquired = record["phase"] == "acquired"
                gain = 30.0 / (len(rows) + 1) if acquired else None
                cost = 0.003 if level == LOW else 5.9
                rows.append(
                    {
                        "step": record["step"],
                        "rank": rank,
                        "structure": int(rng.integers(400)),
                        "level": level,
                        "purpose": record["phase"],
                        "gain": gain,
                        "gain_per_cost": None if gain is None else gain / cost,
                        "cost": cost,
                    }
                )
        n_before = record["n_labels"]
    return rows


@pytest.fixture(scope="session")
def finished():
    """Results of a finished campaign; not to be changed (see `results`)."""
    return stored(campaign())


@pytest.fixture(scope="session")
def written(finished, tmp_path_factory):
    """The page of the finished campaign, with its figures beside it."""
    return write_report(finished, tmp_path_factory.mktemp("campaign"))


@pytest.fixture
def results(finished):
    """A copy of the results that a test may change."""
    return copy.deepcopy(finished)
