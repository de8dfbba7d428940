"""A campaign whose labels run on a cluster of dask on this machine.

    pip install 'mfal[dask,xtb]'
    python tutorials/cluster/dask_local.py

The same lines drive a cluster of a thousand nodes: only the cluster is another, see
dask_slurm.py. A campaign takes any executor of `concurrent.futures`, and dask gives one.
Run it again after Ctrl-C: it goes on where it was.
"""

import os

import dask
from distributed import Client, LocalCluster

from mfal.campaign import Campaign, CampaignConfig
from mfal.oracles import GuardedExecutor

SMOKE = "SMOKE_TEST" in os.environ
WORKERS = 2
SIZES = (
    (20, 3, 4) if SMOKE else (120, 20, 24)
)  # pool, targets and held out, high labels

CONFIG = CampaignConfig.model_validate(
    {
        "name": "methanol",
        "system": {"molecule": "CH3OH"},
        "levels": [
            {"name": "gfn1", "oracle": {"code": "tblite", "method": "GFN1-xTB"}},
            {"name": "gfn2", "oracle": {"code": "tblite", "method": "GFN2-xTB"}},
        ],
        "pool": {"size": SIZES[0], "equilibration": 20 if SMOKE else 500},
        "targets": SIZES[1],
        "validation": SIZES[1],
        "pilot": 3 if SMOKE else 8,
        # a budget in declared costs: the pilot costs 3 (8) times 1 + 10
        "budget": {"cost": 11.0 * SIZES[2], "costs": {"gfn1": 1.0, "gfn2": 10.0}},
        "comparison": not SMOKE,
        "model": {"kernel": "matern52", "permutations": "none" if SMOKE else "auto"},
        # `workers` is how many labels are out at once: as many as the cluster has
        "execution": {"workers": WORKERS, "timeout": 60},
    }
)


def main() -> None:
    # dask would try a label that killed its worker three times more, unseen and
    # unpaid; the campaign does that itself, and counts it
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,  # one label at a time per worker, with one thread
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        # dask cannot end a label that hangs: its workers label in a child that they can
        executor = GuardedExecutor(client.get_executor(), timeout=60.0)
        campaign = Campaign(
            CONFIG, "campaigns/methanol", executor=executor, progress=print
        )
        results = campaign.run()
    print(results["stopping_reason"])


if __name__ == "__main__":  # the workers of dask import this file
    main()
