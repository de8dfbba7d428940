"""The tables of the README, from the document of results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import table

MODELS = {
    "mfal": "mfal",
    "smt_mfk": "SMT MFK",
    "smt_mfck": "SMT MFCK",
    "emukit_linear": "emukit linear",
    "botorch_mf": "BoTorch multi-fidelity",
    "botorch_mt": "BoTorch multi-task",
    "single_level": "high level alone",
}
MISSING = "-"
Runs = Sequence[Mapping[str, Any]]


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """The text of each section of the README."""
    problems = document["problems"]
    return {
        "rmse": scores(problems, "rmse", "{:.3g}"),
        "nlpd": scores(problems, "nlpd", "{:.2f}"),
        "coverage": coverage(problems),
        "failures": failures(problems),
        "times": times(problems),
        "losses": losses(problems),
        "conditions": conditions(document),
    }


def scores(problems: Mapping, name: str, form: str) -> str:
    """Median and quartiles over the seeds; the least median of each problem in bold."""
    rows = []
    for found in problems.values():
        models = found["models"]
        medians = {m: quartiles(models[m], name)[1] for m in MODELS if m in models}
        best = min(medians.values())
        cells = []
        for model in MODELS:
            if model not in models:
                cells.append(MISSING)
                continue
            low, middle, high = (
                _number(q, form) for q in quartiles(models[model], name)
            )
            mark = "**" if medians[model] == best else ""
            cells.append(f"{mark}{middle}{mark} ({low} to {high})")
        rows.append([found["title"], *cells])
    return table(["", *MODELS.values()], rows)


def coverage(problems: Mapping) -> str:
    """Mean shares of the truths within the 95 % and the 68 % intervals."""
    rows = []
    for found in problems.values():
        cells = []
        for model in MODELS:
            good = [r for r in found["models"].get(model, []) if "failure" not in r]
            if not good:
                cells.append(MISSING)
                continue
            shares = [
                100 * np.mean([r[f"coverage_{p}"] for r in good]) for p in (95, 68)
            ]
            cells.append(" / ".join(f"{share:.0f}" for share in shares))
        rows.append([found["title"], *cells])
    return table(["% in 95 % / in 68 %", *MODELS.values()], rows)


def failures(problems: Mapping) -> str:
    """Catastrophic seeds and errors, of how many seeds."""
    rows = []
    for found in problems.values():
        cells = []
        for model in MODELS:
            runs = found["models"].get(model, [])
            bad = sum(bool(r.get("catastrophic")) for r in runs)
            failed = sum("failure" in r for r in runs)
            cells.append(f"{bad} + {failed} of {len(runs)}" if runs else MISSING)
        rows.append([found["title"], *cells])
    return table(["catastrophic + failed", *MODELS.values()], rows)


def times(problems: Mapping) -> str:
    """Median CPU seconds of a fit and of 10,000 predictions."""
    rows = []
    for found in problems.values():
        cells = []
        for model in MODELS:
            runs = found["models"].get(model, [])
            spent = [quartiles(runs, f"{k}_seconds")[1] for k in ("fit", "predict")]
            cells.append(" / ".join(_number(s, "{:.2g}") for s in spent))
        rows.append([found["title"], *cells])
    return table(["s to fit / to predict", *MODELS.values()], rows)


def losses(problems: Mapping) -> str:
    """Where a peer has the better median error or density, or MFK is faster."""
    lines = []
    for found in problems.values():
        models = found["models"]
        peers = [m for m in MODELS if m in models and m != "mfal"]
        if "mfal" not in models or not peers:
            continue
        said = []
        for name, word, form in (
            ("rmse", "RMSE", "{:.3g}"),
            ("nlpd", "NLPD", "{:.2f}"),
        ):
            ours = quartiles(models["mfal"], name)[1]
            best = min(peers, key=lambda m: quartiles(models[m], name)[1])
            theirs = quartiles(models[best], name)[1]
            if ours > theirs:
                numbers = f"{_number(ours, form)} against {_number(theirs, form)}"
                said.append(f"{word} {numbers} of {MODELS[best]}")
        good = [r["coverage_95"] for r in models["mfal"] if "failure" not in r]
        if good and not 0.88 <= np.mean(good) <= 0.99:
            said.append(f"{100 * np.mean(good):.0f} % in its 95 % intervals")
        for k, verb in (("fit", "fit"), ("predict", "predict 10,000 points")):
            if "smt_mfk" not in models:
                continue
            ours, theirs = (
                quartiles(models[m], f"{k}_seconds")[1] for m in ("mfal", "smt_mfk")
            )
            if ours > theirs:
                numbers = [_number(s, "{:.2g}") for s in (ours, theirs)]
                said.append(f"{numbers[0]} s to {verb}, SMT MFK {numbers[1]} s")
        if said:
            lines.append(f"- {found['title']}: {'; '.join(said)}.")
    return "\n".join(lines) or "Nowhere in these tables."


def conditions(document: Mapping[str, Any]) -> str:
    """Machine and versions in one paragraph."""
    facts = document.get("machine", {})
    versions: dict[str, set[str]] = {}
    for found in document.get("versions", {}).values():
        for name, number in found.items():
            versions.setdefault(name, set()).add(number)
    named = (f"{name} {' and '.join(sorted(v))}" for name, v in versions.items())
    where = f"{facts.get('processor')}, one thread, {facts.get('cores')} cores"
    return f"{where}; {', '.join(named)}."


def quartiles(runs: Runs, name: str) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; a failure counts as worse than any."""
    if not runs:
        return (math.nan,) * 3
    values = sorted(r.get(name, math.inf) for r in runs)
    return tuple(_between(values, q) for q in (0.25, 0.5, 0.75))  # type: ignore[return-value]


def _between(values: Sequence[float], q: float) -> float:
    """A quantile by linear interpolation that does not make inf - inf."""
    place = q * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low if low == high else low + (place % 1) * (high - low)


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return MISSING
    return "failed" if math.isinf(value) else form.format(value)
