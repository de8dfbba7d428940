"""A campaign whose labels run as jobs of Slurm, by way of dask-jobqueue.

    pip install 'mfal[dask]' dask-jobqueue
    nohup python dask_slurm.py campaign.yaml &      # on the login node

What the pieces do:

- `SLURMCluster` submits jobs; each holds workers of dask that ask for labels. `adapt`
  starts jobs when labels wait and ends them when none do.
- A job that meets its walltime takes its labels with it: they are tried again (a label
  at a time is lost, never the campaign). Have the walltime several times the longest
  label. `--lifetime` lets a worker leave by itself before that.
- The directory of the campaign must be seen by all nodes: a worker writes its result to
  the `spool` in it before it answers, so nothing is lost with the driver, and notes there
  when it begins a label, so that the time in the queue of Slurm does not count.
- dask cannot end a label that hangs: with `GuardedExecutor` each worker labels in a child
  process that it ends after `execution.timeout`, with all that the code started. Should
  nothing come back at all, the campaign gives the label up after twice that time.
- The driver itself needs little: start it in `screen`, or as a long job of its own.
  Killed, it is started again with the same command and goes on.

Not run in the tests of mfal (there is no Slurm); that it compiles is.
"""

import sys

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client

from mfal.campaign import Campaign, load_campaign
from mfal.oracles import GuardedExecutor

dask.config.set({"distributed.scheduler.allowed-failures": 0})  # see dask_local.py

LABELS_PER_JOB = 8  # workers in one job
THREADS = 4  # of one label
JOBS = 25  # at most


def main(path: str) -> None:
    config = load_campaign(path)
    if config.execution.workers != LABELS_PER_JOB * JOBS:
        raise SystemExit(f"set execution.workers to {LABELS_PER_JOB * JOBS} in {path}")
    cluster = SLURMCluster(
        queue="standard",
        account="my-project",
        cores=LABELS_PER_JOB * THREADS,
        processes=LABELS_PER_JOB,
        memory="64GB",
        walltime="12:00:00",
        # one label at a time per worker, whatever the number of its threads
        worker_extra_args=["--nthreads", "1", "--lifetime", "11h"],
        job_script_prologue=[
            f"export OMP_NUM_THREADS={THREADS}",
            "module load quantum-chemistry",
        ],
    )
    cluster.adapt(minimum_jobs=0, maximum_jobs=JOBS)
    with cluster, Client(cluster) as client:
        campaign = Campaign(
            config,
            f"campaigns/{config.name}",
            executor=GuardedExecutor(
                client.get_executor(), timeout=config.execution.timeout, threads=THREADS
            ),
            progress=print,
        )
        print(campaign.run()["stopping_reason"])


if __name__ == "__main__":
    main(sys.argv[1])
