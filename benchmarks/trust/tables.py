"""The tables of the README."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import table
from benchmarks.trust.excursion import LIMIT, outcome
from mfal.models.calibration import calibration_error

KINDS = ("raw", "calibrated", "quantiles")


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """What the script writes into the README, by the name of its marks."""
    return {
        "calibration": calibration(document.get("calibration", {})),
        "conformal": conformal(document.get("calibration", {})),
        "excursion": excursion(document.get("excursion", {})),
        "verdict": verdict(document.get("excursion", {})),
        "stopping": stopping(document.get("stopping", [])),
    }


def calibration(sets: Mapping[str, Any]) -> str:
    """Raw, calibrated and by quantiles, side by side."""
    heads = [
        "set",
        "level",
        "quantity",
        "sigma",
        "in 68 %",
        "in 95 %",
        "ECE",
        "of a split",
    ]
    heads += ["of chance", "area", "z", "NLL", "RMSE"]
    rows = []
    for name, level, quantity, judged in _judged(sets):
        for kind in (k for k in KINDS if k in judged):
            m = judged[kind]
            rows.append(
                [
                    *(name, level, quantity, kind),
                    *(f"{100 * m[f'coverage_{p}']:.0f} %" for p in (68, 95)),
                    f"{_of_all_splits(m['curve']):.3f}",
                    f"{m['ece']:.3f}",
                    _chance(m.get("chance")),
                    f"{m['miscalibration_area']:.3f}",
                    *(f"{m[k]:.2f}" if k in m else "" for k in ("z_std", "nll")),
                    f"{judged['raw']['rmse']:.4g}",
                ]
            )
    return table(heads, rows)


def _of_all_splits(curve: Mapping[str, Sequence[float]]) -> float:
    return calibration_error(np.array(curve["empirical"]), np.array(curve["nominal"]))


def _chance(ece: Mapping[str, float] | None) -> str:
    return "" if ece is None else f"{ece['mean']:.3f}, {ece['high']:.3f}"


def conformal(sets: Mapping[str, Any]) -> str:
    """What conformal intervals promised and held, structure by structure."""
    rows = []
    for name, level, quantity, judged in _judged(sets):
        if "conformal" in judged:
            c = judged["conformal"]
            inside = f"{100 * c['structures_inside']:.0f} % of {c['n_structures']:.0f}"
            promised = f"{100 * c['promised']:.0f} %"
            rows.append([name, level, quantity, promised, inside, f"{c['factor']:.2f}"])
    heads = ["set", "level", "quantity", "promised", "structures inside", "sigmas"]
    return table(heads, rows)


def excursion(document: Mapping[str, Any]) -> str:
    """A row for each monitor and temperature."""
    heads = ["monitor", "T (K)", "runs", f"free runs beyond {LIMIT} eV/A"]
    heads += ["caught before", "stopped", "moves above soft", "extra moves"]
    heads += ["largest error, free", "watched"]
    rows = []
    for monitor, temperature, o in _outcomes(document):
        rows.append(
            [
                *(monitor, f"{temperature:.0f}", str(o["n"]), str(o["exceed"])),
                *(f"{o['caught']} of {o['exceed']}", str(o["stopped"])),
                *(f"{100 * o[k]:.0f} %" for k in ("soft_share", "extra_moves")),
                *(f"{o[f'largest_error_{k}']:.2f}" for k in ("free", "watched")),
            ]
        )
    return table(heads, rows)


def verdict(document: Mapping[str, Any]) -> str:
    """The two shares that were aimed at, in words."""
    lines = [
        f"- **{monitor}**: {caught} of {exceed} free runs that went beyond {LIMIT} eV/A "
        f"were caught before (aim: 90 %); {false} of {n} runs inside the training range "
        "were stopped (aim: below 5 %)."
        for monitor, (caught, exceed, false, n) in caught_and_false(document).items()
    ]
    return "\n".join(lines) or "Not measured yet."


def caught_and_false(
    document: Mapping[str, Any],
) -> dict[str, tuple[int, int, int, int]]:
    """Per monitor: caught, of so many that went too far; stopped, of so many inside."""
    trained = document.get("setting", {}).get("trained_at")
    counts = {}
    for monitor in document.get("runs", {}):
        found = [o for o in _outcomes(document) if o[0] == monitor]
        inside = [o for _, t, o in found if t <= trained]
        counts[monitor] = (
            sum(o["caught"] for _, _, o in found),
            sum(o["exceed"] for _, _, o in found),
            sum(o["stopped"] for o in inside),
            sum(o["n"] for o in inside),
        )
    return counts


def stopping(found: Sequence[Mapping[str, Any]]) -> str:
    """Cost at which a rule stops over that at which held-out labels meet its targets."""
    heads = ["system", "targets", "errors", "patience", "seeds"]
    heads += ["stopped / met, median (range)", "within 20 %"]
    heads += ["earlier", "later", "stopped, never met", "met, never stopped", "neither"]
    rows = []
    for one in found:
        ratios = one["ratios"]
        middle = "-"
        if ratios:
            middle = f"{one['median']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        counts = ("within_20", "early", "late", "stopped_unmet", "met_unstopped")
        rows.append(
            [
                *(one["case"], one["targets"], one["errors"].replace("_", " ")),
                *(str(one["patience"]), str(one["seeds"]), middle),
                *(str(one[key]) for key in (*counts, "neither")),
            ]
        )
    return table(heads, rows)


def _judged(sets: Mapping[str, Any]) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    return [
        (name, level, quantity, judged)
        for name, found in sets.items()
        for level, quantities in found["levels"].items()
        for quantity, judged in quantities.items()
    ]


def _outcomes(
    document: Mapping[str, Any],
) -> list[tuple[str, float, dict[str, Any]]]:
    return [
        (monitor, float(temperature), outcome(runs))
        for monitor, by_temperature in document.get("runs", {}).items()
        for temperature, runs in by_temperature.items()
    ]
