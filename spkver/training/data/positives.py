"""Self-supervised positive sampling: recordings that are probably of the same speaker, see PositivesConfig."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spkver.training.config import PositivesConfig

_BLOCK = 1024  # recordings at a time, for the cosines to all others


class Positives:
    """The nearest recordings of each recording, in a memory of the last embedding of each.

    recordings: their number; dim: of embeddings; each_round: steps that use every recording once; steps: of the run
    A recording without an embedding gets no other recording as a positive, and is not a positive of others.
    """

    def __init__(self, config: PositivesConfig, recordings: int, dim: int, *, each_round: int, steps: int) -> None:
        self.config, self.every, self._first = config, config.every or each_round, config.start * steps
        self.memory = torch.zeros(recordings, dim)
        # (recordings, neighbours); at first, each recording is its own positive
        self.nearest = np.arange(recordings, dtype=np.int32)[:, None].repeat(config.neighbours, axis=1)

    @property
    def share(self) -> float:
        """The share of the recordings that have other ones as positives."""
        return float((self.nearest != np.arange(len(self.nearest))[:, None]).any(axis=1).mean())

    def to(self, device: torch.device) -> None:
        """Move the memory to a device."""
        self.memory = self.memory.to(device)

    @torch.no_grad()
    def add(self, recordings: Tensor, embeddings: Tensor) -> None:
        """Remember embeddings (N, dim) of different recordings, int64 (N,); those that are not finite are left out."""
        unit = torch.nn.functional.normalize(embeddings.to(self.memory.dtype), dim=1)
        finite = unit.isfinite().all(dim=1, keepdim=True)
        self.memory[recordings] = torch.where(finite, unit, self.memory[recordings])

    def due(self, done: int) -> bool:
        """Whether the nearest recordings are searched for after that number of steps."""
        return done % self.every == 0 and done >= self._first

    @torch.no_grad()
    def search(self) -> np.ndarray:
        """The nearest recordings by cosine, int32 (recordings, neighbours). Waits for the device."""
        known = self.memory.any(dim=1)
        found = []
        for rows in torch.arange(len(known), device=known.device).split(_BLOCK):
            cosines = (self.memory[rows] @ self.memory.T).masked_fill(~known, -torch.inf)
            best = cosines.scatter(1, rows[:, None], -torch.inf).topk(min(self.config.neighbours, len(known)), dim=1)
            there = best.values.isfinite() & known[rows, None]
            found.append(torch.where(there, best.indices, rows[:, None]).to(torch.int32).cpu())
        return torch.cat(found).numpy()

    def draw(self, recordings: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
        """Positives (N, number) of recordings (N,)."""
        nearest = self.nearest[recordings]
        return np.take_along_axis(nearest, random.integers(0, nearest.shape[1], (len(nearest), number)), axis=1)

    def state(self) -> dict[str, Tensor]:
        """Memory and nearest recordings; not copied."""
        return {"memory": self.memory, "nearest": torch.from_numpy(self.nearest)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`."""
        self.memory = state["memory"].to(self.memory.device)
        self.nearest = state["nearest"].numpy()
