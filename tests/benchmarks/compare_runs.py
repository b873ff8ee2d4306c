"""Compare the logged numbers of two runs: python tests/benchmarks/compare_runs.py EXP EXP

For a change that should not change the mathematics: train the same config with the same seed before and after it.
Prints each number that differs, with the first step and the largest difference. The exit code is 1 if any differs.
"""

from __future__ import annotations

import sys

import numpy as np

from spkver.errors import InputError
from spkver.report.curves import read_curves
from spkver.training.monitoring.log import TIMING


def differences(one: str, other: str) -> list[str]:
    """Differences between the logs of two runs, one per line; times are ignored."""
    logs = read_curves(one), read_curves(other)
    lines = []
    for name in sorted((logs[0].keys() | logs[1].keys()) - TIMING):
        if not all(name in log for log in logs):
            lines.append(f"{name}: in one run only")
            continue
        (steps, values), (other_steps, other_values) = (log[name] for log in logs)
        if not np.array_equal(steps, other_steps):
            lines.append(f"{name}: logged at other steps")
        elif len(rows := np.flatnonzero((values != other_values) & ~(np.isnan(values) & np.isnan(other_values)))):
            largest = np.abs(values - other_values).max()
            lines.append(
                f"{name}: differs at {len(rows)} of {len(steps)} steps, from step {steps[rows[0]]}, by {largest:g}"
            )
    return lines


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        found = differences(*arguments)
    except InputError as error:
        print(f"compare_runs: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) or "the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
