# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # On a cluster
#
# **Question.** Labels take hours, on machines that are not yours, in queues that end your
# jobs. How do labels get there and back, and what is lost when something dies?
#
# There are three ways: any executor of Python's `concurrent.futures` (threads, processes,
# dask, executorlib), a folder that you carry to a queue yourself, and a campaign that
# drives either of the two and may be killed at any moment. All three are shown here with
# labels that take no time; ready scripts for dask and Slurm stand in
# `tutorials/cluster/`.

# %%
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
import yaml
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron

from mfal import Fidelity
from mfal.oracles import LabelPool, LabelRequest, label_all
from mfal.report.style import COLOURS, GREY, RC

plt.rcParams.update(RC | {"figure.dpi": 72, "text.parse_math": True})
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SMOKE = "SMOKE_TEST" in os.environ
N_STRUCTURES, SIZE, N_HIGH = (3, 24, 5) if SMOKE else (8, 90, 22)
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)

# %% [markdown]
# ## Executors
#
# A request is a structure and a level in plain values; the calculator is built where it
# runs, since calculators do not travel. `label_all` takes any executor and hands over
# each result as it arrives. A label that fails is a result with an error, never an
# exception that ends the rest. `LabelPool` is mfal's own: processes with a time limit per
# label that survive crashes.

# %%
level = Fidelity("emt", {"code": "emt"})


def cluster(seed):
    """A rattled icosahedron of 13 copper atoms."""
    atoms = Icosahedron("Cu", 2)
    atoms.rattle(0.1, seed=seed)
    return atoms


structures = [cluster(seed) for seed in range(N_STRUCTURES)]


def label(executor):
    """Energies by structure (eV)."""
    found = {}
    requests = [
        LabelRequest.of(f"emt-{i}", atoms, level) for i, atoms in enumerate(structures)
    ]
    label_all(executor, requests, lambda r: found.update({r.label_id: r.label.energy}))
    return [found[r.label_id] for r in requests]


with LabelPool(2, timeout=60) as executor:
    energies = label(executor)
print("processes:", np.round(energies, 3))
with ThreadPoolExecutor(2) as executor:
    print("threads:  ", np.round(label(executor), 3))

# %% [markdown]
# dask is the same line with another executor. Here its workers are threads of this
# process; on a cluster only `LocalCluster` is another (`SLURMCluster`, see
# `tutorials/cluster/dask_slurm.py`).

# %%
try:
    from distributed import Client, LocalCluster
except ImportError:
    print("dask is not installed: pip install 'mfal[dask]'")
else:
    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=None) as machines,
        Client(machines) as client,
    ):
        print("dask:     ", np.round(label(client.get_executor()), 3))

# %% [markdown]
# ## By hand
#
# Where nothing may run but a job script, `mfal label --export` writes a folder: a
# `manifest.json` that says what is wanted, and a folder per structure. Results are put
# there as `result.extxyz`, or as the output of VASP, Quantum ESPRESSO or ORCA as it is,
# and read back by `--import`, as often as some are still missing.


# %%
def mfal(*words):
    """The command line, as in a terminal."""
    command = [sys.executable, "-c", "from mfal.cli import main; main()"]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
    print("$ mfal", *(Path(w).name if isinstance(w, Path) else w for w in words))
    print((done.stdout + done.stderr).replace(f"{folder}/", ""))


pool, batch = folder / "pool.extxyz", folder / "batch"
ase.io.write(pool, structures)
mfal("label", pool, "--oracle", "my code", "--export", batch)
print(*sorted(str(p.relative_to(batch)) for p in batch.rglob("*"))[:4], sep="\n")

# %% [markdown]
# Your part: run each structure, with whatever code. Here EMT plays the queue, and one job
# has failed.

# %%
places = sorted(p.parent for p in batch.rglob("structure.extxyz"))
for place in places[1:]:
    atoms = ase.io.read(place / "structure.extxyz")
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None
    ase.io.write(place / "result.extxyz", atoms)
(places[0] / "failed.txt").write_text("walltime exceeded")
mfal("label", "--import", batch, "--output", folder / "labels.extxyz")

# %% [markdown]
# The energies that came back are those of the executors, and the failed one is named with
# its reason. A level of a campaign can be done by hand as well, with the oracle `{code:
# manual, name: my code}`: at each step the campaign hands over its batch, ends, and goes
# on when it is run again and the results are there.
#
# ## Killed and resumed
#
# A campaign writes every label into one database as it arrives, and every choice depends
# only on what is in there, the configuration and its seed:
#
# $$ \text{batch}_{k+1} =
#    g(\text{labels of steps } 1, \dots, k;\; \text{configuration};\; \text{seed}). $$
#
# So whatever ends it, the same command goes on, and ends with the same labels as if
# nothing had happened. Let us see: a small campaign on methanol with replayed labels of
# GFN2-xTB and MP2, run once in peace, and once killed by SIGTERM, which is what a queue
# sends at the end of a job's time.

# %%
replay = {"code": "replay", "path": str(HERE / "data6" / "methanol.extxyz")}
config = {
    "name": "methanol",
    "system": {"molecule": "CH3OH"},
    "levels": [{"name": n, "oracle": replay} for n in ("gfn2", "mp2")],
    "pool": {"sampler": "file", "path": replay["path"], "size": SIZE},
    "targets": SIZE // 6,
    "validation": SIZE // 6,
    "pilot": 4,
    "budget": {"cost": 11 * N_HIGH, "costs": {"gfn2": 1, "mp2": 10}},
    "acquisition": {"batch": 4},
    "model": {"kernel": "matern52", "permutations": "none"},
    "comparison": False,
}
(folder / "campaign.yaml").write_text(yaml.safe_dump(config))


def run(name, kill_at=None):
    """`mfal run` in a process of its own, killed when it says so."""
    words = ["run", str(folder / "campaign.yaml"), "--dir", str(folder / name)]
    command = [sys.executable, "-c", "from mfal.cli import main; main()", *words]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    plain = {k: v for k, v in os.environ.items() if "COLOR" not in k}  # one line each
    last = ""
    with subprocess.Popen(command, env=plain, **streams) as process:
        for line in process.stderr:
            if kill_at is not None and kill_at in line:
                process.send_signal(signal.SIGTERM)
                kill_at = None  # once
            last = line if line.strip() else last
    print(f"{name}: exit code {process.returncode}, {last.strip()}")


run("peace")
for step in ("step 3",) if SMOKE else ("step 3", "step 5"):
    run("killed", kill_at=f"{step}: choosing")
run("killed")

# %% [markdown]
# Exit code 3 says "paused, can be resumed", so that a job script may submit itself again:
# 0 is done, 2 bad input, 4 too many labels failed. A kill that nobody can hear (SIGKILL,
# a power cut) costs the labels that were running and nothing else.


# %%
def choices(name):
    """Step, structure and level of every label, in order."""
    results = json.loads((folder / name / "results.json").read_text())
    return [(b["step"], b["structure"], b["level"]) for b in results["bought"]], results


peace, killed = choices("peace"), choices("killed")
print("labels:", len(peace[0]), "and", len(killed[0]))
print("the same choices:", peace[0] == killed[0])
print("resumed:", killed[1]["execution"]["resumed"], "time(s)")
for name, (_, results) in (("peace", peace), ("killed", killed)):
    error = results["evaluation"]["standalone"]["forces"]["rmse"]
    print(
        f"{name}: held-out force RMSE {error:.6f} eV/Å, cost {results['budget']['spent']}"
    )

# %%
fig, axes = plt.subplots(figsize=(5.6, 2.8), layout="constrained")
for (bought, _), marker, size, colour in (
    (peace, "o", 9, GREY),
    (killed, ".", 5, COLOURS["at_hand"]),
):
    rows = [(s, i) for s, i, level in bought if level == "mp2"]
    label = "in peace" if marker == "o" else "killed twice"
    axes.plot(*np.array(rows).T, marker, ms=size, mfc="none", color=colour, label=label)
axes.set(xlabel="step", ylabel="geometry labelled at MP2")
_ = axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# **How to read it.** Each circle is a label at the dear level in the campaign that ran in
# peace, each dot one in the campaign that was killed twice: a dot in every circle, no
# circle without a dot. (The first two steps are the pilot and the held-out geometries.)
#
# ## Exercise
#
# Which files would you copy to move this campaign to another machine, and does it still
# know what it has done there? Copy the directory `killed` to `moved`, run it, and look at
# the exit code and the number of labels.
#
# <details><summary>Solution</summary>
#
# ```python
# import shutil
#
# shutil.copytree(folder / "killed", folder / "moved")
# run("moved")
# print(len(choices("moved")[0]), "labels", choices("moved")[0] == killed[0])
# ```
# It prints
#
# ```text
# moved: exit code 0, writing the report
# 108 labels True
# ```
#
# The directory of the campaign (its `campaign.sqlite` holds everything) and the YAML
# file, with the files that this names. Everything else can be made again.
#
# </details>

# %%
scratch.cleanup()  # after the exercise
