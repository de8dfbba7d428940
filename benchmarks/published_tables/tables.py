"""The tables of the README, from the document of results."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table

SIDES = {
    "gap_fit": "gap_fit, here",
    "mfal_matched": "mfal, descriptor and points of gap_fit",
    "mfal": "mfal, defaults",
}
MISSING = "-"


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """The text of each section of the README."""
    elements = document["elements"]
    return {
        "errors": errors(document["published"], elements),
        "costs": f"{costs(elements)}\n\n{conditions(elements)}",
        "calibration": calibration(elements),
        "growing": growing(document["repeat"]),
    }


def errors(published: Mapping, elements: Mapping) -> str:
    """Energy / force MAE of the published potentials and of those fitted here."""
    rows = []
    for name, values in published.items():
        known = [values.get(e) for e in elements]
        cells = [f"{v[0]:.2f} / {v[1]:.2f}" if v else MISSING for v in known]
        rows.append([f"{name}, published", *cells])
    for side, name in SIDES.items():
        known = [_maes(found, side) for found in elements.values()]
        cells = [f"{v[0]:.2f} / {v[1]:.4f}" if v else MISSING for v in known]
        rows.append([name, *cells])
    return table(["meV/atom / eV/A", *elements], rows)


def costs(elements: Mapping) -> str:
    """What fits and predictions take, and the ratio of two sides of one machine."""
    heads = ["", "", "fit, wall (s)", "fit, CPU (s)", "fit, peak memory (MB)"]
    heads += ["energy + forces (ms/atom)", "with error bars (ms/atom)"]
    rows = []
    for element, found in elements.items():
        numbers = {side: _costs(found[side]) for side in SIDES if side in found}
        apart = len({_processor(found[side]) for side in numbers}) > 1
        for side, row in numbers.items():
            cells = [MISSING if x is None else f"{x:,.{d}f}" for x, d in row]
            where = f" ({_processor(found[side])})" if apart else ""
            rows.append([element, f"{side}{where}", *cells])
        for side in ("mfal_matched", "mfal"):
            if side not in numbers or "gap_fit" not in numbers:
                continue
            if _processor(found[side]) != _processor(found["gap_fit"]):
                continue
            ours, theirs = ([x for x, _ in numbers[s]] for s in (side, "gap_fit"))
            ratios = (
                f"{b / a:.1f}" if a and b else ""
                for a, b in zip(ours, theirs, strict=True)
            )
            rows.append([element, f"**gap_fit over {side}**", *ratios])
    return table(heads, rows)


def calibration(elements: Mapping) -> str:
    """How often the test labels lie within our error bars."""
    heads = ["", "", "in 68 %", "in 95 %", "ECE", "spread of z"]
    rows = []
    for element, found in elements.items():
        if "mfal" not in found:
            continue
        judged = found["mfal"]["evaluation"]["errors"]
        for quantity in ("energy", "forces"):
            values = judged[quantity]
            shares = [f"{100 * values[f'coverage_{p}']:.0f} %" for p in (68, 95)]
            more = [f"{values['ece']:.3f}", f"{values['z_std']:.2f}"]
            rows.append([element, quantity, *shares, *more])
    return table(heads, rows)


def growing(rows: Sequence[Mapping[str, Any]]) -> str:
    """Peak memory and time of our fit against the size of the training set."""
    heads = ["", "copies", "structures", "force components"]
    heads += ["wall (s)", "CPU (s)", "peak memory (MB)"]
    lines = []
    for row in rows:
        fit = row["fit"]
        sizes = [f"{row['structures']:,}", f"{3 * row['atoms']:,}"]
        spent = [f"{fit[f'{kind}_seconds']:.0f}" for kind in ("wall", "cpu")]
        memory = f"{fit['peak_memory_MB']:,.0f}"
        lines.append([row["element"], str(row["copies"]), *sizes, *spent, memory])
    return table(heads, lines)


def conditions(elements: Mapping) -> str:
    """Machine, load and versions of every side of every element, in one paragraph."""
    machines: set[str] = set()
    loads: list[float] = []
    versions: dict[str, set[str]] = {}
    for found in elements.values():
        for side in (found[name] for name in SIDES if name in found):
            facts = side["fit"]["machine"]
            cores = f"{facts['threads']} thread(s) on {facts['cores']} cores"
            machines.add(f"{facts['processor']}, {cores}")
            loads.append(facts["load_before"])
            for name, number in side["evaluation"]["versions"].items():
                versions.setdefault(name, set()).add(number)
    if not loads:
        return ""
    named = (f"{name} {' and '.join(sorted(v))}" for name, v in versions.items())
    span = f"load before the fits {min(loads):.1f} to {max(loads):.1f}"
    return f"{'; '.join(sorted(machines))}; {span}; {', '.join(named)}."


def _maes(found: Mapping, side: str) -> tuple[float, float] | None:
    if side not in found:
        return None
    judged = found[side]["evaluation"]["errors"]
    return judged["energy"]["mae"], judged["forces"]["mae"]


def _processor(side: Mapping) -> str:
    return side["fit"]["machine"]["processor"]


def _costs(side: Mapping) -> list[tuple[float | None, int]]:
    """Wall, CPU, memory of the fit; ms per atom; each with its number of decimals."""
    fit, judged = side["fit"], side["evaluation"]["errors"]
    speed = judged["seconds_per_atom"]
    plain = speed["energy+forces"]
    if "cpu_seconds_per_atom" in judged:  # the lesser: no one is blamed for the load
        plain = min(plain, judged["cpu_seconds_per_atom"]["energy+forces"])
    full = speed.get("energy+forces+uncertainties")
    if full is not None and "cpu_seconds_per_atom" in judged:
        full = min(full, judged["cpu_seconds_per_atom"]["energy+forces+uncertainties"])
    return [
        (fit["wall_seconds"], 1),
        (fit["cpu_seconds"], 1),
        (fit["peak_memory_MB"], 0),
        (1e3 * plain, 3),
        (None if full is None else 1e3 * full, 3),
    ]
