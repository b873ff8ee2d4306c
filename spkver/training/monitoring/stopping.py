"""Early stopping: the best dev measurement, and the number of measurements since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EarlyStopping:
    """The best dev error rates so far (with their `step`), and the number of measurements since.

    patience: number of measurements without a lower EER after which to stop; None: never
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.rates: dict[str, float] = {}
        self.since = 0

    def add(self, step: int, rates: Mapping[str, float]) -> bool:
        """Add a measurement; return whether it is the best so far."""
        better = not self.rates or rates["dev_eer"] < self.rates["dev_eer"]
        if better:
            self.rates = {"step": step, **rates}
        self.since = 0 if better else self.since + 1
        return better

    @property
    def stops(self) -> bool:
        """Whether to stop."""
        return self.patience is not None and self.since >= self.patience

    def reason(self) -> str:
        """The reason for stopping."""
        return (
            f"no dev EER below {self.rates['dev_eer']:.2%} (step {self.rates['step']}) in {self.since} measurements "
            "(train.patience)"
        )

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"best": self.rates, "since_best": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a `state`."""
        self.rates, self.since = dict(state["best"]), int(state.get("since_best", 0))
