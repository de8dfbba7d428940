r"""What the rest of the budget will buy, and the error that is to be expected then.

Labels: the rest is spent as the last steps were, a share s_l of it on level l at the price
of a label, p_l = spent_l / done_l, which charges failed labels to those that came back:
n_l = s_l * rest / p_l. What a level cannot take, since all candidates have it, goes to the
others. The interval is that of the mean cost of a label.

Error: the learning curve as a power law in the number n of labels of the highest level,

    log e = a - b log n + r,    r ~ N(0, s^2),

by least squares, extrapolated to the n that will be reached; its interval is that of a new
point, t_{k-2} s sqrt(1 + 1/k + (x - mean x)^2 / S_xx), x = log n, of k steps. It holds if
the law goes on to hold (no floor from noise) and the levels are bought as they are now;
held-out errors of one set err together, so it tells of their fall, not of that set's luck.

Source: Hestness et al. (2017), arXiv:1712.00409 (power laws); Draper & Smith (1998),
Applied Regression Analysis, section 1.4 (prediction interval).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from mfal.campaign.forecast_words import of_errors, of_labels, of_validation
from mfal.campaign.reader import LabelEntry, Tally
from mfal.campaign.records import OPEN, StoredLabel

FEWEST_STEPS = 4
"""Steps with different numbers of labels below which nothing is extrapolated."""
LEAST_GROWTH = 2.0
"""Factor between the fewest and the most of these labels below which neither."""
RECENT = 3
"""Acquired steps that tell how the levels are bought now."""
CONFIDENCE = 0.9
QUANTITIES = ("forces", "energy")


def forecast(document: Mapping[str, Any]) -> dict[str, Any]:
    """The forecast of a campaign from its document (`results.json`), as plain JSON.

    `left` of the budget; `labels` per level (`mean`, `low`, `high`); `errors` per
    quantity (`value`, `low`, `high`, `exponent`, `n_high`, `kind`) at the end of the
    budget, or at twice the labels where it is spent; `sentences` say so in words, and
    why what is missing cannot be told. `document["pool"]`, if it is there, holds the
    number of `candidates`, which no level can exceed, and of validation labels that are
    open per level (`validation_open`).
    """
    budget = document.get("budget") or {}
    names = [str(level.get("name")) for level in document.get("levels") or []]
    total, spent = budget.get("total"), budget.get("spent")
    curve = [r for r in document.get("learning_curve") or [] if r.get("n_labels")]
    outside = of_validation(document)
    if total is None or spent is None or not names or not curve:
        none = "There is no forecast yet: too few steps (none is finished)."
        return {"left": None, "labels": {}, "errors": {}, "sentences": [none, *outside]}
    over = bool(document.get("finished"))
    left = 0.0 if over else max(total - spent, 0.0)
    labels = _labels(document, curve, names, left)
    n_now = curve[-1]["n_labels"].get(names[-1]) or 0
    more = labels.get(names[-1], {}).get("mean", 0.0)
    n_end = n_now + more if left else 2.0 * n_now
    unit = str(budget.get("unit") or "CPU s")
    sentences = of_labels(labels, left, unit, over=over)
    errors: dict[str, Any] = {}
    reasons = []
    for quantity in QUANTITIES if more >= 1 or not left else ():
        kind, n, values = _points(curve, names[-1], quantity)
        found = extrapolated(n, values, n_end)
        if isinstance(found, str):
            reasons.append(found)
        else:
            errors[quantity] = {**found, "n_high": n_end, "kind": kind}
    said = of_errors(errors, names[-1], CONFIDENCE, more=bool(left))
    sentences += said or list(dict.fromkeys(reasons))
    return {
        "left": left,
        "labels": labels,
        "errors": errors,
        "sentences": [*sentences, *outside],
    }


def pool_counts(
    roles: Mapping[str, int], labels: Sequence[StoredLabel | LabelEntry | Tally]
) -> dict[str, Any]:
    """`document["pool"]`: candidates, and validation labels that are open, by level.

    `roles` are numbers of structures of the pool.
    """
    waiting: Counter[str] = Counter()
    for x in labels:
        if x.purpose == "validation" and x.state in OPEN:
            waiting[x.level] += x.n_labels
    return {
        "candidates": roles.get("candidate", 0),
        "validation_open": dict(waiting),
    }


def extrapolated(
    n: Sequence[float], errors: Sequence[float], to: float
) -> dict[str, float] | str:
    """The power law through errors at n labels, at `to` labels, or why there is none.

    >>> found = extrapolated([4.0, 8.0, 16.0, 32.0], [8.0, 4.0, 2.0, 1.0], 64.0)
    >>> round(found["value"], 6), round(found["exponent"], 6)
    (0.5, 1.0)
    """
    x, y = _logarithms(n, errors)
    k, different = len(x), len(np.unique(x))
    if different < FEWEST_STEPS or np.ptp(x) < math.log(LEAST_GROWTH):
        return (
            "The error cannot be extrapolated yet: too few steps (it takes "
            f"{FEWEST_STEPS} with different numbers of labels, from n to at least "
            f"{LEAST_GROWTH:g} n)."
        )
    centred, at = x - x.mean(), math.log(to) - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    s = math.sqrt(float(residual @ residual) / (k - 2))
    quantile = float(stdtrit(k - 2, 0.5 + 0.5 * CONFIDENCE))
    if slope + quantile * s / math.sqrt(spread) >= 0:
        return (
            "No error is extrapolated: over the steps so far it has not fallen by more "
            "than it scatters."
        )
    value = y.mean() + slope * at
    width = quantile * s * math.sqrt(1 + 1 / k + at**2 / spread)
    ends = (math.exp(value + sign * width) for sign in (0, -1, 1))
    found = dict(zip(("value", "low", "high"), ends, strict=True))
    return {**found, "exponent": -slope}


def _logarithms(
    n: Sequence[float], errors: Sequence[float]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    pairs = [(a, e) for a, e in zip(n, errors, strict=True) if a > 0 and e > 0]
    found = np.log(np.array(pairs, dtype=float).reshape(-1, 2))
    return found[:, 0], found[:, 1]


def _labels(
    document: Mapping[str, Any],
    curve: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    left: float,
) -> dict[str, dict[str, float]]:
    """Labels per level that the rest buys, at the mix of the last acquired steps."""
    acquired = [r for r in curve if r.get("phase") == "acquired"]
    if not acquired or not left:
        return {}
    before = curve[: curve.index(acquired[-RECENT:][0])]
    now, then = curve[-1], before[-1] if before else {}
    spent = {name: _spent(now, name) - _spent(then, name) for name in names}
    known = [name for name in names if now["n_labels"].get(name) and _spent(now, name)]
    price = {name: _spent(now, name) / now["n_labels"][name] for name in known}
    most = (document.get("pool") or {}).get("candidates")
    room = {
        name: math.inf
        if most is None
        else max(float(most - now["n_labels"][name]), 0.0)
        for name in known
    }
    found = {}
    for name, n in _divided(left, spent, price, room).items():
        model = _cost(document, name)
        few, many = (n * model["mean"] / model[end] for end in ("high", "low"))
        found[name] = {"mean": n, "low": few, "high": min(many, room[name])}
    return found


def _divided(
    rest: float,
    shares: Mapping[str, float],
    price: Mapping[str, float],
    room: Mapping[str, float],
) -> dict[str, float]:
    """Labels per level for all of the rest; what a full level leaves goes to others."""
    bought = dict.fromkeys(price, 0.0)
    while rest > 1e-9:
        free = {n: max(shares[n], 0.0) for n in price if bought[n] < room[n]}
        if not free:
            break
        if (
            not sum(free.values()) > 0
        ):  # what was bought is full: the highest that is not
            free = {list(free)[-1]: 1.0}
        whole, spent = sum(free.values()), 0.0
        for name, share in free.items():
            n = min(rest * share / whole / price[name], room[name] - bought[name])
            bought[name] += n
            spent += n * price[name]
        if not spent > 0:
            break
        rest -= spent
    return {name: n for name, n in bought.items() if n > 0}


def _spent(record: Mapping[str, Any], name: str) -> float:
    return float((record.get("spent_per_level") or {}).get(name) or 0.0)


def _cost(document: Mapping[str, Any], name: str) -> dict[str, float]:
    """Mean cost of a label with its interval; without one, none."""
    found = (document.get("cost_model") or {}).get(name) or {}
    ends = {end: found.get(end) or 0.0 for end in ("mean", "low", "high")}
    return ends if min(ends.values()) > 0 else dict.fromkeys(ends, 1.0)


def _points(
    curve: Sequence[Mapping[str, Any]], high: str, quantity: str
) -> tuple[str, list[float], list[float]]:
    """What errors are of, and them by the number of labels: held-out ones if known."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in curve:
        n, heldout = record["n_labels"].get(high), record.get("heldout") or {}
        for mode in ("at_hand", "standalone"):
            value = ((heldout.get(mode) or {}).get(quantity) or {}).get("mae")
            if n and value is not None:
                found.setdefault(f"heldout {mode}", []).append((n, value))
        value = (record.get("loo") or {}).get(f"{quantity}_mae")
        if n and value is not None:
            mode = str(record.get("loo_mode") or "standalone")
            found.setdefault(f"loo {mode}", []).append((n, value))
    kind = next(
        (k for k in ("heldout at_hand", "heldout standalone") if k in found), ""
    )
    kind = kind or next(iter(found), "")
    last = dict(found.get(kind, []))  # of steps that bought lower levels only: the last
    return kind, [float(n) for n in last], [float(e) for e in last.values()]
