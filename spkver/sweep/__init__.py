"""Sweeps: many training runs of one recipe, with other keys and seeds, and the comparison of their results.

from spkver.config import load
from spkver.sweep import Sweep, sweep

sweep(load(Sweep, "sweep.yaml"), "exp/sweep", jobs=2)
"""

from spkver.sweep.run import dry_run, results_so_far, sweep
from spkver.sweep.schema import Sweep

__all__ = ["Sweep", "dry_run", "results_so_far", "sweep"]
