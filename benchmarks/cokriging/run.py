"""Is mfal's co-kriging more accurate, and its error bars more honest, than its peers?

    python -m benchmarks.cokriging.run [--peer PATH/python] [--seeds 10] [--smoke]
        [--problems forrester currin] [--models mfal smt_mfk]

Every model gets the same designs and the same 10,000 test points. SMT and emukit take
part if a Python that has them is named with `--peer`. What is finished is kept in the
work folder and not done again with the same data, code and versions, so that a run that
was interrupted goes on.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import mfal
from benchmarks.cokriging.environments import Worker
from benchmarks.cokriging.figure import figure
from benchmarks.cokriging.problems import N_TEST, PROBLEMS, Data, Problem, drawn
from benchmarks.cokriging.scores import rmse_of_the_mean, scored
from benchmarks.cokriging.tables import MODELS, sections
from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import write_sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
MODULES = {
    "mfal": "mfal_models",
    "smt_mfk": "smt_models",
    "smt_mfck": "smt_models",
    "emukit_linear": "emukit_models",
    "botorch_mf": "gpytorch_models",
    "botorch_mt": "gpytorch_models",
    "single_level": "gpytorch_models",
}
"""The file of this folder that has each model."""
HERE_TOO = ("mfal_models", "gpytorch_models")
"""Those that run in the environment of mfal."""
OURS = ("models/autoregressive*.py", "kernels/*.py")
"""The code of mfal that the results depend on."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    work.mkdir(parents=True, exist_ok=True)
    results = HERE / "results.json"
    document: dict[str, Any] = {"problems": {}}
    if results.exists() and not options.smoke:  # what is not run now stays
        document = json.loads(results.read_text())
    document["question"] = (__doc__ or "").splitlines()[0]
    document["machine"] = machine(1)
    with workers(options.peer, options.models, work) as started:
        for name in options.problems:
            found = document["problems"].setdefault(name, {"models": {}})
            found["title"] = PROBLEMS[name].title
            for seed in range(options.seeds):
                data = drawn(PROBLEMS[name], seed, options.n_test)
                for model, worker in started.items():
                    if seed < seeds_of(PROBLEMS[name], model, options.seeds):
                        result = kept(work / name, model, data, worker, options.limit)
                        _put(found["models"], model, seed, result)
        for model, worker in started.items():
            versions = document.setdefault("versions", {}).setdefault(model, {})
            versions |= worker.versions()
    order = [name for name in PROBLEMS if name in document["problems"]]
    document["problems"] = {name: document["problems"][name] for name in order}
    tables = sections(document)
    print("\n\n".join(tables.values()))
    if options.smoke:
        return
    write_text(results, json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", tables)
    figure(document).savefig(HERE / "scores.png", dpi=200)


def seeds_of(problem: Problem, model: str, seeds: int) -> int:
    """How many seeds a model does: some take too long on some problems."""
    return min(seeds, (problem.seeds or {}).get(model, seeds))


@contextmanager
def workers(
    peer: Path | None, models: Sequence[str], work: Path
) -> Iterator[dict[str, Worker]]:
    """A worker for each model that can run here; models of one file share theirs."""
    started: dict[str, Worker] = {}
    for module in sorted({MODULES[model] for model in models}):
        python = Path(sys.executable) if module in HERE_TOO else peer
        if python is not None:
            started[module] = Worker(python, module, work / f"{module}.log")
    try:
        yield {m: started[MODULES[m]] for m in models if MODULES[m] in started}
    finally:
        for worker in started.values():
            worker.close()


def kept(
    folder: Path, model: str, data: Data, worker: Worker, limit: float
) -> dict[str, Any]:
    """The scores of a model on a seed, from the folder if nothing has changed."""
    file = folder / model / f"{data.seed}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    inputs, output = file.with_suffix(".data.npz"), file.with_suffix(".npz")
    data.save(inputs)
    settings = {
        "data": data_hash(data),
        "code": code_hash(model),
        "versions": worker.versions(),
    }
    try:
        if file.exists():
            found = json.loads(file.read_text())
            if found["settings"] == settings:
                return found["result"]
        task = {"model": model, "data": str(inputs), "prediction": str(output)}
        result = judged(worker.ask(task, limit), output, data)
    finally:
        inputs.unlink()
        output.unlink(missing_ok=True)
    write_text(file, json.dumps({"settings": settings, "result": result}, indent=1))
    print(folder.name, model, data.seed, _short(result), flush=True)
    return result


def judged(answer: dict[str, Any], prediction: Path, data: Data) -> dict[str, Any]:
    """The answer with its scores in place of the prediction; a failure stays one."""
    answer.pop("traceback", None)
    if "failure" in answer:
        return answer
    with np.load(prediction) as file:
        try:
            scores = scored(file["mean"], file["variance"], data.test_Y)
        except ValueError as error:
            return {"failure": str(error)}
    limit = rmse_of_the_mean(data.Y[-1], data.test_Y)
    return {**scores, "catastrophic": scores["rmse"] > limit, **answer}


def data_hash(data: Data) -> str:
    """Of the numbers a model and its judge are given."""
    arrays = (*data.X, *data.Y, data.test_X, data.test_Y)
    return sha256(
        b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    ).hexdigest()


def code_hash(model: str) -> str:
    """Of the code that fits it: other code has to be measured anew."""
    files = [HERE / f"{MODULES[model]}.py", HERE / "worker.py", HERE / "scores.py"]
    if model == "mfal":
        files.append(HERE / "gpytorch_models.py")
        package = Path(mfal.__file__).parent
        files += sorted(file for pattern in OURS for file in package.glob(pattern))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _put(models: dict[str, Any], model: str, seed: int, result: dict) -> None:
    """Puts a result into the list of a model, at the place of its seed.

    What the model says of itself stays in the work folder.
    """
    runs = models.setdefault(model, [])
    runs[seed : seed + 1] = [{k: v for k, v in result.items() if k != "record"}]


def _short(result: dict[str, Any]) -> str:
    if "failure" in result:
        return f"failed: {result['failure'][:100]}"
    return (
        f"RMSE {result['rmse']:.4g}, NLPD {result['nlpd']:.2f}, "
        f"{result['fit_seconds']:.1f} s"
    )


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="a Python that has smt and emukit")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--limit", type=float, default=600, help="seconds for a fit")
    parser.add_argument("--work", type=Path, default=Path("campaigns/cokriging"))
    parser.add_argument("--smoke", action="store_true", help="Forrester, one seed")
    options = parser.parse_args(words)
    options.n_test = N_TEST
    if options.smoke:
        options.problems, options.seeds, options.n_test = ["forrester"], 1, 200
    return options


if __name__ == "__main__":
    main()
