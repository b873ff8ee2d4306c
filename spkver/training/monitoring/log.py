"""The log of a run, `metrics.jsonl`: its name, beside those of what lies with it, and how its numbers are shown.

Without torch, so it is read fast.
"""

from __future__ import annotations

from collections.abc import Mapping

CONFIG, METRICS, CHECKPOINTS = "config.yaml", "metrics.jsonl", "checkpoints"
SHOWN = {
    "loss": "loss {:.3f}",
    "lr": "lr {:.2e}",
    "margin": "margin {:.3f}",
    "penalty": "penalty {:.3f}",
    "scale": "scale {:.2f}",
    "annealing": "annealing {:.3g}",
    "target_cosine": "target cosine {:.3f}",
    "hardest_cosine": "hardest cosine {:.3f}",
    "distil_cosine": "distil cosine {:.3f}",
    "gradient_norm": "gradient norm {:.2f}",
    "skipped": "{:.0f} skipped",
    "utterances_per_second": "{:.0f} utt/s",
    "dev_eer": "dev EER {:.2%}",
    "dev_min_dcf": "dev minDCF {:.3f}",
}
"""Numbers with a form of their own; the rest are shares."""
LINE = ("loss", "accuracy", "lr", "margin", "dev_eer", "dev_min_dcf", "skipped", "utterances_per_second")
"""The numbers of a line of train.log, which is to fit 120 columns; metrics.jsonl has all of them."""
GLANCE = ("loss", "accuracy", "margin_accuracy", "dev_eer", "utterances_per_second")
"""The numbers beside the progress bar."""
TIMING = frozenset({"utterances_per_second", "waiting"})
"""The numbers that measure time: they differ between two runs that are otherwise the same."""


def shown(name: str, value: float) -> str:
    """A number of the log with its name, as a line for people has it."""
    return SHOWN.get(name, f"{name.replace('_', ' ')} {{:.1%}}").format(value)


def is_share(name: str) -> bool:
    """Whether a number of the log is read in percent."""
    return name not in SHOWN or "%}" in SHOWN[name]


def line(values: Mapping[str, float]) -> list[str]:
    """The numbers that matter most, as a line of train.log shows them."""
    return [shown(name, values[name]) for name in LINE if name in values]


def glance(values: Mapping[str, float]) -> str:
    """Those of the numbers that tell most, in one short line."""
    return ", ".join(shown(name, values[name]) for name in GLANCE if name in values)
