"""A campaign whose labels run in one allocation of Slurm, by executorlib.

    pip install mfal executorlib
    sbatch --ntasks=64 --wrap "python executorlib_slurm.py campaign.yaml"

executorlib starts each label with `srun` inside the allocation that this script runs in,
with as many cores, threads or GPUs as `resource_dict` says. Its executors are those of
`concurrent.futures`, which is all that a campaign asks for. On one machine without Slurm
take `SingleNodeExecutor(max_workers=4)` in the same place.

When the walltime comes near, Slurm sends SIGTERM (`--signal=B:TERM@120`): the campaign
takes in what is finished and ends with exit code 3; submit the same command again.

Not run in the tests of mfal (there is no Slurm); that it compiles is.
"""

import os
import sys

from executorlib import SlurmJobExecutor

from mfal.campaign import Campaign, Paused, load_campaign

CORES = 4  # of one label


def main(path: str) -> None:
    config = load_campaign(path)
    workers = int(os.environ["SLURM_NTASKS"]) // CORES
    if config.execution.workers != workers:
        raise SystemExit(f"set execution.workers to {workers} in {path}")
    with SlurmJobExecutor(
        max_workers=workers,
        resource_dict={"cores": 1, "threads_per_core": CORES},
        block_allocation=True,  # workers stay: a code is loaded once, not per label
    ) as executor:
        campaign = Campaign(
            config, f"campaigns/{config.name}", executor=executor, progress=print
        )
        try:
            print(campaign.run()["stopping_reason"])
        except Paused as pause:
            print(pause)
            sys.exit(3)


if __name__ == "__main__":
    main(sys.argv[1])
