"""Time of a batch against the size of the pool."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure


def figure(found: dict[str, Any]) -> Figure:
    """Wall time and gains worked out, for each criterion."""
    fig = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = fig.subplots(1, 2)
    for criterion, marker in (("parameters", "o"), ("targets", "s")):
        runs = [r for r in found["runs"] if r["criterion"] == criterion]
        x = [r["n_pool"] for r in runs]
        y = [r["wall_seconds"] for r in runs]
        left.loglog(x, y, marker=marker, label=f"about {criterion}")
        share = [100 * (1 - r["evaluations_saved"]) for r in runs]
        right.semilogx(x, share, marker=marker, label=f"about {criterion}")
    left.axhline(120, color="0.7", lw=0.8, ls="--")
    left.set(
        xlabel="cells of 64 atoms in the pool", ylabel="wall time of a batch of 50 / s"
    )
    right.set(
        xlabel="cells of 64 atoms in the pool",
        ylabel="gains worked out / %",
        ylim=(0, None),
    )
    left.legend(frameon=False)
    return fig
