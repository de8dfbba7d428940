"""Are the intervals wide enough with two to five labels of the high level?

    python -m benchmarks.cokriging.few_labels [--seeds 50] [--smoke]

Fifty labels of the low level and two to five of the high one, on five functions: the
share of 1,000 test points in the central 95 % intervals, over all seeds together, and
the error beside that of the mean of the labels. Seeds that are finished are kept in the
work folder.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from gpytorch.mlls import ExactMarginalLogLikelihood

import mfal
from benchmarks.cokriging.problems import PROBLEMS, Problem, drawn
from benchmarks.cokriging.scores import rmse_of_the_mean, scored
from benchmarks.markdown import table, write_sections
from mfal.data.files import write_text
from mfal.models import AutoregressiveGP

HERE = Path(__file__).parent
FUNCTIONS = ("forrester", "currin", "park", "hartmann", "useless")
LOW, HIGH = 50, (2, 3, 4, 5)
N_TEST = 1_000


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--smoke", action="store_true", help="one function, two seeds")
    parser.add_argument("--work", type=Path, default=Path("campaigns/cokriging/few"))
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    names, seeds = FUNCTIONS, options.seeds
    if options.smoke:
        names, seeds = FUNCTIONS[:1], 2
    found: dict[str, Any] = {}
    for name in names:
        for high in HIGH:
            problem = replace(PROBLEMS[name], points=(LOW, high), noise=())
            scores = [_kept(options.work, name, problem, k) for k in range(seeds)]
            found.setdefault(name, {})[str(high)] = _summary(scores)
    tables = {"few": _table(found)}
    print(tables["few"])
    if options.smoke:
        return
    document = {
        "question": (__doc__ or "").splitlines()[0],
        "seeds": seeds,
        "functions": found,
    }
    write_text(HERE / "few_labels.json", json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", tables)


def _kept(work: Path, name: str, problem: Problem, seed: int) -> dict[str, float]:
    """The scores of a seed, from the work folder if the code is the same."""
    file = work / f"{name}_{problem.points[1]}_{seed}_{_code()[:12]}.json"
    if file.exists():
        scores: dict[str, float] = json.loads(file.read_text())
        return scores
    scores = _scores(problem, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(scores))
    return scores


def _code() -> str:
    root = Path(mfal.__file__).parent
    files = sorted(
        [*root.glob("models/autoregressive*.py"), *root.glob("kernels/*.py")]
    )
    return sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _scores(problem: Problem, seed: int) -> dict[str, float]:
    data = drawn(problem, seed, N_TEST)
    rows = [np.column_stack([x, np.full(len(x), k)]) for k, x in enumerate(data.X)]
    train_X = torch.from_numpy(np.vstack(rows))
    model = AutoregressiveGP(train_X, torch.from_numpy(np.concatenate(data.Y))[:, None])
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    asked = np.column_stack([data.test_X, np.ones(len(data.test_X))])
    with torch.no_grad():
        posterior = model.posterior(torch.from_numpy(asked))
        mean, variance = posterior.mean[:, 0], posterior.variance[:, 0]
    scores = scored(mean.numpy(), variance.numpy(), data.test_Y)
    return scores | {"rmse_of_mean": rmse_of_the_mean(data.Y[-1], data.test_Y)}


def _summary(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    def every(key: str) -> np.ndarray:
        return np.array([s[key] for s in scores])

    return {
        "coverage_95": float(every("coverage_95").mean()),
        "coverage_68": float(every("coverage_68").mean()),
        "seeds_below_half": int((every("coverage_95") < 0.5).sum()),
        "rmse": float(np.median(every("rmse"))),
        "rmse_of_mean": float(np.median(every("rmse_of_mean"))),
        "nlpd": float(np.median(every("nlpd"))),
    }


def _table(found: dict[str, Any]) -> str:
    heads = ["", *(f"{high} high" for high in HIGH), "RMSE at 5 / of the mean"]
    rows = []
    for name, by_count in found.items():
        last = by_count[str(HIGH[-1])]
        title = PROBLEMS[name].title.rpartition(",")[0] or PROBLEMS[name].title
        rows.append(
            [title if name != "useless" else PROBLEMS[name].title]
            + [
                f"{100 * s['coverage_95']:.0f} ({s['seeds_below_half']})"
                for s in by_count.values()
            ]
            + [f"{last['rmse']:.3g} / {last['rmse_of_mean']:.3g}"]
        )
    return table(heads, rows)


if __name__ == "__main__":
    main()
