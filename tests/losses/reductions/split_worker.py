"""The processes of test_split.py: python split_worker.py FOLDER.

Two processes, then three, forked from this one, which has imported torch once for all. Each reads its part of the batch
in FOLDER/batch.pt and writes what it found to FOLDER/PROCESSES-RANK.pt; the three also load the last loss of the two.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing import start_processes

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES
from spkver.losses.margin_loss import MarginLoss
from spkver.losses.reductions.split import join


def work(rank: int, processes: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet-{processes}"
    distributed.init_process_group("gloo", meet, timedelta(minutes=2), rank=rank, world_size=processes)
    batch = torch.load(folder / "batch.pt")
    mine = slice(rank * len(batch["y"]) // processes, (rank + 1) * len(batch["y"]) // processes)
    found = {}
    for name, (tree, state) in batch["losses"].items():
        torch.manual_seed(5)
        loss = MarginLoss(validate(LOSSES, tree), 6, batch["classes"]).double()
        started = loss.head.weight.detach().clone()
        loss.load_state_dict(state)
        x = batch["x"][mine].requires_grad_()
        out = loss(x, batch["y"][mine])
        out.loss.backward()
        torch.optim.SGD(loss.parameters(), lr=0.1).step()
        found[name] = {
            "out": [value.detach() for value in out if value is not None],
            "x": x.grad,
            "weights": {key: parameter.grad for key, parameter in loss.named_parameters()},
            "started": started,
            "state": loss.head.state_dict(),
        }
    if processes == 3:
        loss.head.load_state_dict(join([torch.load(folder / f"2-{rank}.pt")[name]["state"] for rank in (1, 0)]))
        found["loaded"] = loss.head.state_dict()
        try:
            MarginLoss(validate(LOSSES, tree), 6, 2)
        except InputError as error:
            found["refused"] = str(error)
    torch.save(found, folder / f"{processes}-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    for processes in (2, 3):
        start_processes(work, (processes, Path(sys.argv[1])), nprocs=processes, start_method="fork")
