"""The parts of the README that the results say."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table
from benchmarks.scaling import extrapolation
from benchmarks.scaling.laws import curve, floor_seconds, power_law
from benchmarks.scaling.partitioned import SHARE, allowed
from benchmarks.scaling.points import AXES

WAYS = {
    "given": "the same hyperparameters",
    "searched": "each its own search",
    "sums": "sums over parts",
}
NOT_YET = "Not measured yet."


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """What each marked part of the README holds."""
    return {
        "machine": _machine(document),
        "laws": _laws(document),
        "memory": _memory(document),
        "candidates": _candidates(document),
        "check": _check(document),
        "stages": _stages(document),
        "limits": _limits(document),
        "sums": _sums(document["mapreduce"][0]["stages"]),
        "parts": _parts(document["selection"][0]["stages"]),
        "conditions": _conditions(document),
    }


def _machine(document: Mapping[str, Any]) -> str:
    rates = document["machine"]
    return (
        f"One thread of this machine multiplies matrices of 2,048 at "
        f"{rates['flops_per_second'] / 1e9:.0f} GFlop/s and copies "
        f"{rates['bytes_per_second'] / 1e9:.1f} GB/s (read and written), in double "
        "precision, measured as a point among the others."
    )


def _laws(document: Mapping[str, Any]) -> str:
    rows = []
    for name, axis in AXES.items():
        for stage, power in axis.powers.items():
            sizes, seconds = curve(document["axes"][name], stage, "cpu_seconds")
            points = {p["size"]: p["stages"].get(stage) for p in document["axes"][name]}
            law, last = power_law(sizes, seconds), points[sizes[-1]]
            assert last is not None
            floor = floor_seconds(last, document["machine"])
            wall = last["wall_seconds"]
            rows.append(
                [
                    axis.counts if stage == next(iter(axis.powers)) else "",
                    stage.replace("_", " "),
                    f"{sizes[0]:,} to {sizes[-1]:,}",
                    f"{seconds[-1]:.3g}",
                    f"{wall:.3g}",
                    exponent(law.exponent, law.error),
                    power,
                    f"{floor:.2g}" if floor else "-",
                    f"{seconds[-1] / floor:.2g}" if floor else "-",
                ]
            )
    heads = ["what grows", "stage", "measured", "CPU s at the largest", "wall s"]
    heads += ["exponent", "expected", "floor s", "CPU s / floor"]
    return table(heads, rows)


def exponent(value: float, error: float) -> str:
    """A value with its standard error, if there is one."""
    return f"{value:.2f}" + ("" if math.isnan(error) else f" ± {error:.2f}")


def _memory(document: Mapping[str, Any]) -> str:
    rows = []
    for axis, stage in (
        ("structures", "features"),
        ("inducing", "choice"),
        ("inducing", "evidence"),
        ("levels", "evidence"),
        ("rows", "condition"),
        ("rows", "evidence"),
        ("dataset", "memory"),
        ("candidates", "objects"),
        ("candidates", "in parts"),
    ):
        sizes, grown = curve(document["axes"][axis], stage, "grown_MB")
        _, peaks = curve(document["axes"][axis], stage, "peak_MB")
        _, held = curve(document["axes"][axis], stage, "held_MB")
        law = power_law(sizes, grown)
        rows.append(
            [
                AXES[axis].counts,
                stage,
                f"{sizes[-1]:,}",
                f"{grown[-1]:,.0f}",
                f"{held[-1]:,.0f}",
                f"{peaks[-1]:,.0f}",
                exponent(law.exponent, law.error),
            ]
        )
    heads = ["what grows", "stage", "largest", "MB more", "MB that it must hold"]
    return table([*heads, "peak of the process, MB", "exponent of MB more"], rows)


def _candidates(document: Mapping[str, Any]) -> str:
    rows = []
    for criterion in ("parameters", "targets"):
        law = extrapolation.selection_law(criterion)
        if law is not None:
            sizes = extrapolation.selection_curve(criterion)[0]
            rows.append(
                [
                    f"information about {criterion}",
                    ", ".join(f"{s:,.0f}" for s in sizes),
                    f"{law.at_largest:.0f}",
                    exponent(law.exponent, law.error),
                ]
            )
    if not rows:
        return NOT_YET
    heads = [
        "criterion",
        "candidates",
        "CPU s of a batch of 50 from the most",
        "exponent",
    ]
    return table(heads, rows)


def _check(document: Mapping[str, Any]) -> str:
    predicted, measured = extrapolation.check(document)
    settings = document["settings"]["check"]
    return (
        f"A pass over {document['check'][0]['size']} cells of {4 * settings['edge'] ** 3} "
        f"atoms at {settings['n_levels']} levels with {settings['n_inducing']} inducing "
        "environments, which no law was fitted to: the product of the laws says "
        f"{predicted:.1f} CPU s, measured are {measured:.1f} "
        f"({predicted / measured:.2f} times)."
    )


def _stages(document: Mapping[str, Any]) -> str:
    found = extrapolation.stages(document)
    rows = [
        [s.name, s.kind, _range(s.hours), _bytes(s.moved), _bytes(s.held)]
        for s in found
    ]
    heads = [
        "stage",
        "what it is",
        "core hours",
        "moved in all",
        "held or mapped by a process",
    ]
    alone = sum(s.hours[1] for s in found if not s.kind.startswith("map"))
    divided = sum(s.hours[1] for s in found if s.kind.startswith("map"))
    parts = extrapolation.PARTS
    return (
        table(heads, rows)
        + f"\n\nOn {parts:,} cores, both criteria and the larger numbers: "
        f"{_number(divided / parts)} hours for what divides, {_number(alone)} for what "
        "does not."
    )


def _limits(document: Mapping[str, Any]) -> str:
    found = extrapolation.limits(document)
    rows = [
        [
            limit.name,
            f"{_number(limit.possible)} {limit.counts}",
            _number(limit.wanted),
            f"{limit.beyond:.2g}",
            limit.instead,
        ]
        for limit in found
    ]
    memory = document["memory_bytes"] / 2**30
    heads = ["what", f"ends at (node of {memory:.0f} GiB)", "wanted", "times too many"]
    return table([*heads, "instead"], rows)


def _sums(found: Mapping[str, Any]) -> str:
    about, rows = found["there"], []
    units = {"energy": "eV per atom", "forces": "eV/A", "stress": "eV/A^3"}
    for way, differences in about["differences"].items():
        for k, (name, value) in enumerate(differences.items()):
            unit = units.get(name.removesuffix("_sigma"), "of the largest")
            rows.append(
                [
                    WAYS[way] if not k else "",
                    name.replace("_", " "),
                    f"{value:.1e}",
                    f"{allowed(way, name):g} {unit}",
                ]
            )
    kept = "the same" if about["same_kept"] else "not the same"
    return (
        table(["", "largest difference of", "found", "allowed"], rows)
        + f"\n\nPredictions of {about['n_test']} cells that were not in the fit. "
        f"{about['n_parts']} parts; {_bytes(about['bytes_of_sums'])} of sums for "
        f"{_bytes(about['bytes_of_data'])} of data; structures kept for leaving out: "
        f"{kept}. {found['here']['wall_seconds']:.0f} s of wall time in one process, "
        f"{about['wall_seconds']:.0f} s with two workers (the machine has other work)."
    )


def _parts(found: Mapping[str, Any]) -> str:
    plain, parted = found["greedy"], found["in parts"]
    rows = [
        [
            name,
            f"{run['worth']:.2f}",
            f"{run['cost']:.0f}",
            f"{run['evaluations']:,}",
            f"{run['wall_seconds']:.1f}",
        ]
        for name, run in (("greedy", plain), ("in parts", parted))
    ]
    return (
        table(["", "nats", "cost", "gains worked out", "wall s"], rows)
        + f"\n\nBatches of {parted['batch']}, {parted['n_parts']} parts: "
        f"{parted['in_common']} labels in common, {100 * parted['share']:.1f} % of the "
        f"information per cost of plain greedy (at least {100 * SHARE:.0f} % are asserted)."
    )


def _conditions(document: Mapping[str, Any]) -> str:
    machine = document["machine"]["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    points: list[Any] = [p for ps in document["axes"].values() for p in ps]
    loads = [p["machine"]["load_before"] for p in points]
    cpu = sum(p["process_cpu_seconds"] for p in points)
    for name in ("check", "mapreduce", "selection"):
        cpu += sum(p["process_cpu_seconds"] for p in document[name])
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{document['memory_bytes'] / 2**30:.0f} GiB; one thread "
        "(`OMP_NUM_THREADS=1`, `OMP_WAIT_POLICY=passive`); load before a point "
        f"{min(loads):.1f} to {max(loads):.1f}: other work ran beside it, so CPU seconds "
        f"count. {cpu / 60:.0f} CPU minutes in all, imports included and the workers of "
        f"the cluster not. {versions}."
    )


def _range(hours: Sequence[float]) -> str:
    low, high = (_number(h) for h in hours)
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    if value < 100:
        return f"{value:.2g}"
    if value < 1e6:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.1e}".replace("e+", "e")


def _bytes(value: float) -> str:
    if not value:
        return "-"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{_number(value / size)} {unit}"
    return f"{value:.0f} B"
