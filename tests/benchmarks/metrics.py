"""The error curve and metrics computed from it: python tests/benchmarks/metrics.py [TRIALS], default 100 million.

Prints wall time, CPU time and peak memory. Scores are normally distributed float32; one in a hundred is a target.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from spkver import metrics


def main(trials: int = 100_000_000) -> None:
    rng = np.random.default_rng(0)
    target = np.zeros(trials, bool)
    target[::100] = True
    scores = rng.standard_normal(trials, dtype=np.float32)
    scores[::100] += 3
    wall, cpu = time.perf_counter(), time.process_time()
    curve = metrics.error_curve(scores, target)
    steps = {
        "curve": lambda: curve,
        "EER": lambda: metrics.equal_error(curve).rate,
        "EER of the hull": lambda: metrics.equal_error_of_hull(curve),
        "minDCF": lambda: metrics.least_cost(curve, metrics.OperatingPoint(0.01)).cost,
        "min Cllr": lambda: metrics.min_cllr_of(curve),
        "Cllr": lambda: metrics.cllr_of(curve),
    }
    print(f"{trials} trials, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB after the curve")
    for name, step in steps.items():
        found = step()
        shown = f"{len(found.thresholds)} points" if name == "curve" else f"{found:.6f}"
        print(f"{name}: {shown}, {time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU in all")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
