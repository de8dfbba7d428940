"""Figures of held-out errors: parity with error bars, and calibration.

Each function takes the document and gives a `Drawing`, or `None` if there is nothing
to draw yet.
"""

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mfal.report.document import MODES, Document, finite, floats, mode_name, part
from mfal.report.drawing import Drawing
from mfal.report.style import COLOURS, GREY, INK, MARKERS, RC, WIDTH
from mfal.report.typography import UNITS, percent, rounded, shortened

MAX_POINTS = 400
"""Most points in one parity plot: more would only hide each other."""


def parity_points(document: Document, mode: str, quantity: str) -> np.ndarray:
    """Reference, predicted, sigma (3 x n), energies in meV/atom, forces in eV/A.

    At most `MAX_POINTS`, evenly spaced in the order of the reference values. A missing
    sigma is NaN.
    """
    parity = part(document, "evaluation", mode, "parity", quantity)
    columns = [floats(part(parity, k)) for k in ("reference", "predicted", "sigma")]
    n = len(columns[0])
    if len(columns[1]) != n:
        return np.empty((3, 0))
    sigma = columns[2] if len(columns[2]) == n else np.full(n, math.nan)
    points = np.stack([columns[0], columns[1], sigma])
    points = points[:, np.isfinite(points[:2]).all(axis=0)]
    points = points[:, np.argsort(points[0], kind="stable")]
    if points.shape[1] > MAX_POINTS:
        even = np.linspace(0, points.shape[1] - 1, MAX_POINTS).round().astype(int)
        points = points[:, even]
    return points * (1000.0 if quantity == "energy" else 1.0)


def draw_parity(document: Document, mode: str, quantity: str) -> Drawing | None:
    """Predicted against reference, and below it their difference with error bars."""
    reference, predicted, sigma = parity_points(document, mode, quantity)
    if reference.size == 0:
        return None
    unit, metrics = UNITS[quantity], part(document, "evaluation", mode, quantity)
    word = "energy" if quantity == "energy" else "force"
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(2.4, 1))
        low, high = _limits(np.concatenate([reference, predicted]))
        many = reference.size > 100
        style = {
            "fmt": MARKERS[mode],
            "color": COLOURS[mode],
            "markersize": 2.5 if many else 4,
            "markeredgewidth": 0,
            "elinewidth": 0.6 if many else 1.0,
            "alpha": 0.55 if many else 0.85,
            "rasterized": many,
        }
        bars = np.nan_to_num(sigma, nan=0.0)
        for axes, y, line in (
            (above, predicted, [low, high]),
            (below, predicted - reference, [0, 0]),
        ):
            axes.plot([low, high], line, color=INK, lw=0.8, zorder=1)
            axes.errorbar(reference, y, bars, **style)
            axes.yaxis.set_major_locator(MaxNLocator(5))
        largest = np.nanmax(np.abs(predicted - reference) + bars) * 1.08 or 1.0
        above.set(xlim=(low, high), ylim=(low, high))
        below.set_ylim(-largest, largest)
        below.xaxis.set_major_locator(MaxNLocator(5))
        above.set_ylabel(f"predicted {word} ({unit})")
        below.set_ylabel(f"difference\n({unit})")
        below.set_xlabel(f"reference {word} ({unit})")
        _note_errors(above, metrics, unit)
        title = mode_name(document, mode)
        above.set_title(title[:1].upper() + shortened(title[1:], 40), loc="left")
    alt = (
        f"Predicted against reference {word}, {mode_name(document, mode)}: "
        f"{reference.size} points about the diagonal, mean absolute error "
        f"{rounded(part(metrics, 'mae'))} {unit}."
    )
    return Drawing(f"parity_{quantity}_{mode}", figure, alt)


def draw_calibration(document: Document, quantity: str) -> Drawing | None:
    """Share of errors inside error bars of rising nominal share, raw and calibrated."""
    curves = {
        mode: part(document, "evaluation", mode, "calibration", quantity)
        for mode in MODES
    }
    if not any(floats(part(curve, "nominal")).size for curve in curves.values()):
        return None
    word = "energies" if quantity == "energy" else "forces"
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, label="error bars that are true")
        n_structures = finite(part(document, "evaluation", "n_structures"))
        if quantity == "energy" and n_structures:
            _chance_band(axes, int(n_structures))
        for mode, curve in curves.items():
            nominal = floats(part(curve, "nominal"))
            for key, style, word_ in (
                ("empirical", "-", "calibrated"),
                ("empirical_raw", (0, (2, 2)), "raw"),
            ):
                share = floats(part(curve, key))
                if share.size and share.size == nominal.size:
                    label = f"{shortened(mode_name(document, mode), 28)}, {word_}"
                    marker = MARKERS[mode] if key == "empirical" else None
                    axes.plot(
                        nominal,
                        share,
                        color=COLOURS[mode],
                        linestyle=style,
                        marker=marker,
                        markersize=3.5,
                        markevery=max(1, nominal.size // 10),
                        label=label,
                    )
        axes.set(xlim=(0, 1), ylim=(0, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("nominal share inside the error bar")
        axes.set_ylabel(f"share of held-out {word} inside")
        figure.legend(loc="outside lower center")
    shares = "; ".join(
        f"{mode_name(document, mode)} {percent(part(metrics, 'coverage_95'))}"
        for mode in MODES
        if (metrics := part(document, "evaluation", mode, quantity))
    )
    alt = (
        f"Calibration of the error bars of {word}: empirical against nominal share. "
        f"The 95 % bars hold: {shares or 'not known'}."
    )
    return Drawing(f"calibration_{quantity}", figure, alt)


def _limits(values: np.ndarray) -> tuple[float, float]:
    margin = 0.04 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def _note_errors(axes: Axes, metrics: Document | None, unit: str) -> None:
    """The errors in numbers, in the corner that points near the diagonal leave free."""
    lines = [
        f"{name} {rounded(part(metrics, key))} {unit}"
        for name, key in (("MAE", "mae"), ("RMSE", "rmse"))
        if finite(part(metrics, key)) is not None
    ]
    axes.text(
        0.03, 0.97, "\n".join(lines), va="top", transform=axes.transAxes, fontsize=9
    )


def _chance_band(axes: Axes, n: int) -> None:
    """Where the curve of n independent errors lies 95 times in 100 if all is well."""
    p = np.linspace(0, 1, 101)
    spread = 1.96 * np.sqrt(p * (1 - p) / n)
    axes.fill_between(
        p,
        np.maximum(p - spread, 0),
        np.minimum(p + spread, 1),
        color=GREY,
        alpha=0.15,
        lw=0,
        label=f"chance, {n} structures (95 %)",
    )
