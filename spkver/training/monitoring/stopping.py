"""Which dev measurement was the best, and whether a run has gone on long enough without a better one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Best:
    """The dev error rates of the best measurement so far, `step` among them, and how many were made since.

    patience: so many measurements without a lower EER, and the run is to stop; None for never.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.rates: dict[str, float] = {}
        self.since = 0

    def add(self, step: int, rates: Mapping[str, float]) -> bool:
        """Take in a measurement; returns whether it is the best so far."""
        better = not self.rates or rates["dev_eer"] < self.rates["dev_eer"]
        if better:
            self.rates = {"step": step, **rates}
        self.since = 0 if better else self.since + 1
        return better

    @property
    def stops(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.since >= self.patience

    def reason(self) -> str:
        """Why a run stops, in words."""
        return (
            f"no dev EER below {self.rates['dev_eer']:.2%} (step {self.rates['step']}) in {self.since} measurements, "
            "which is train.patience"
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.rates, "since_best": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.rates, self.since = dict(state["best"]), int(state.get("since_best", 0))
