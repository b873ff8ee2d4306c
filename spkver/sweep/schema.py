"""The YAML file of a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from spkver.config import Config
from spkver.metrics import operating_points
from spkver.scoring.evaluation import DEFAULT_POINTS

Grid = dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]
"""Keys of a recipe with several values each"""

Keys = dict[str, Any]
"""Keys of a recipe: `{loss.m: 0.2}`, or `{loss: {m: 0.2}}`"""


class SearchConfig(Config):
    """A search by Optuna (TPE) for the keys with the lowest error rate on the dev speakers. It uses the first seed."""

    trials: int = Field(gt=0, description="number of runs")
    space: dict[str, tuple[str, str]] = Field(min_length=1)
    """keys with lower and upper limit, `{loss.m: [0.05, 0.4]}`; whole numbers, if both limits have no decimal point"""

    @field_validator("space")
    @classmethod
    def _ranges(cls, space: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        for key, (low, high) in space.items():
            try:
                rises = float(low) < float(high)
            except ValueError:
                raise ValueError(f"{key}: expected two numbers, got {low} and {high}") from None
            if not rises:
                raise ValueError(f"{key}: the lower limit {low} is not below the upper limit {high}")
        return space


class SystemConfig(Config):
    """A system: what differs from the recipe. A grid gives a system for each combination of its values."""

    set: Keys = {}
    """keys of the recipe with their values, `{loss.name: lmcl, loss.m: 0.2}`"""
    grid: Grid = {}
    """keys with several values each, `{loss.head.s: [10, 20]}`"""
    search: SearchConfig | None = None
    """search for values of keys, in place of a grid"""
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="null: the seeds of the sweep")


class TestConfig(Config):
    """A trial list that is scored with every trained model, by cosine."""

    __test__ = False  # not a test of pytest

    source: str = Field(description="data directory or pack with the recordings of both sides; it has the speakers")
    trials: str = Field(description="trial list with labels")
    seconds: float | None = Field(None, gt=0, description="use only this much of the middle of the test side")
    enrol_seconds: float | None = Field(None, gt=0, description="the same for the enrolment side")


class Sweep(Config):
    """Training runs of one recipe with several systems and seeds. Paths are relative to the current directory."""

    recipe: str = Field(description="config of `spkver train`")
    set: Keys = {}
    """keys of the recipe for all systems"""
    grid: Grid = {}
    """keys with several values for all systems"""
    systems: dict[str, SystemConfig] = Field(min_length=1)
    """systems by name; the others are compared with the first"""
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    """every system is trained with each seed; systems with the same seed have the same initial weights of the network
    and the same order of the data"""
    metric: Literal["dev_eer", "dev_min_dcf"] = "dev_eer"
    """the error rate on the dev speakers that chooses the best point of a grid or search"""
    tests: dict[str, TestConfig] = {}
    """trial lists by name, scored after training"""
    points: tuple[str, ...] = DEFAULT_POINTS
    """operating points of minDCF"""

    @field_validator("points")
    @classmethod
    def _known_points(cls, points: tuple[str, ...]) -> tuple[str, ...]:
        for point in points:
            operating_points(point)
        return points

    @field_validator("systems", "tests")
    @classmethod
    def _names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not name or name != path_name(name):
                raise ValueError(f"the name '{name}' is used for files: only letters, digits and . _ + - are allowed")
        return named


def path_name(text: str) -> str:
    """The text with each character replaced that a file name should not have."""
    return "".join(one if one.isalnum() or one in "._+-" else "_" for one in text).lstrip(".")


def overrides(keys: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys as `key=value` overrides of `spkver.config.load`. A mapping changes its own keys only."""
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from overrides(value, f"{prefix}{key}.")
        else:
            # JSON is YAML; plain words are left as they are, for messages
            plain = isinstance(value, str) and value.replace(".", "").replace("_", "").replace("/", "").isalnum()
            yield f"{prefix}{key}={value if plain else json.dumps(value, ensure_ascii=False)}"
