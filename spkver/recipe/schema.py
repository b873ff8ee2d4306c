"""The YAML tree of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spkver.augment import FEATURES, WAVEFORM
from spkver.config import Component, Config, Of, refuse_unused
from spkver.features import FRONT_ENDS
from spkver.features.config import FrontEndBase
from spkver.losses import LOSSES
from spkver.losses.dino import DINOConfig
from spkver.losses.loss import LossConfig
from spkver.losses.pairs import PairConfig
from spkver.models import MODELS
from spkver.schedules import SCHEDULES, ScheduleConfig
from spkver.training.config import DistilConfig, PositivesConfig, StartConfig, TrainingConfig

RECORDINGS = "recordings"
"""`data.speakers`: every recording is a speaker of its own"""


class LocalConfig(Config):
    """Short crops in addition to those of `crop_seconds`, of the same utterances; a teacher does not get them."""

    crops: int = Field(
        4, gt=0, description="short crops for each speaker (without utterances_per_speaker: utterance) of a batch"
    )
    seconds: float = Field(1.0, gt=0, description="length of a short crop")


class DataConfig(Config):
    """Training and dev data, as packs of audio or of features."""

    train: str | tuple[str, ...] = Field(
        description="audio pack or feature pack, or several; equal speaker names are one speaker", min_length=1
    )
    speakers: str | None = None
    """labels in place of those of the packs: a file with lines `utterance speaker`, as from `spkver cluster`
    (utterances that are not in it are left out), or `recordings`: every recording is a speaker of its own"""
    dev: str | None = Field(None, description="pack of held-out speakers; null: no dev EER")
    dev_trials: str | None = Field(None, description="trial list; null: all target and random non-target trials")
    crop_seconds: float = Field(2.0, gt=0)
    """length of the training samples"""
    crop_schedule: Annotated[ScheduleConfig, Of(SCHEDULES)] | None = None
    """factor on crop_seconds, in tenths of a second: `{name: piecewise, points: [[0, 0.5], [0.6, 1]], shape: step}`"""
    utterances_per_speaker: int | None = Field(
        None, ge=2, description="utterances of each speaker in a batch; null: drawn without regard to speakers"
    )
    local: LocalConfig | None = Field(None, description="short crops, for `loss: dino`; null: none")
    positives: PositivesConfig | None = None
    """with `speakers: recordings`: pairs of different recordings that probably have the same speaker; null: pairs of
    crops of one recording"""
    shuffle_gb: float | None = Field(None, gt=0)
    """read the packs shard by shard, and mix the utterances of this many gigabytes of shards at a time; null: 4 if one
    of the packs is given by URL, otherwise utterances are drawn from whole packs"""
    max_utterances: int | None = Field(None, gt=0, description="use a random part of the pack, for quick experiments")
    shards: Literal["all", "per_node"] = "all"
    """per_node: each of several machines reads its own shards (every n-th) and draws its part of every batch from
    them. Every utterance still comes once per epoch, but in another order than on one machine"""


class AugmentConfig(Config):
    """Augmentation. Speeds and waveform augmentations need an audio pack."""

    speeds: tuple[float, ...] = (1.0,)
    """speed factors, one of which is drawn for every crop"""
    speeds_as: Literal["new_speakers", "same"] = "new_speakers"
    """whether a speaker at another speed, with other pitch and formants, is a class of its own"""
    waveform: tuple[Annotated[Component, Of(WAVEFORM)], ...] = ()
    """waveform augmentations, in order"""
    features: tuple[Annotated[Component, Of(FEATURES)], ...] = ()
    """feature augmentations, in order"""

    @model_validator(mode="after")
    def _speeds(self) -> AugmentConfig:
        if not self.speeds or any(not 0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ValueError(f"speeds must lie between 0.5 and 2, got {list(self.speeds)}")
        if len(set(self.speeds)) < len(self.speeds):
            raise ValueError(f"a speed is given twice: {list(self.speeds)}")
        if self.speeds == (1.0,):
            refuse_unused(self, "without other speeds", "speeds_as")
        return self


class Recipe(Config):
    """Everything that a training run depends on."""

    seed: int = Field(1, ge=0, lt=2**63)
    """seed of all random numbers: the same seed gives the same run"""
    data: DataConfig
    front_end: Annotated[FrontEndBase, Of(FRONT_ENDS)] = Field(default="fbank", validate_default=True)
    model: Annotated[Component, Of(MODELS)] = Field(default="xvector", validate_default=True)
    loss: Annotated[LossConfig, Of(LOSSES)] = Field(default="bd_lmcl", validate_default=True)
    start: StartConfig | None = None
    distil: DistilConfig | None = None
    augment: AugmentConfig = AugmentConfig()
    train: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if self.train.final == "best" and self.data.dev is None:
            raise ValueError("train.final: best needs dev EER; set data.dev")
        if self.train.patience is not None and self.data.dev is None:
            raise ValueError("train.patience counts dev measurements; set data.dev")
        if self.data.dev_trials is not None and self.data.dev is None:
            raise ValueError("data.dev_trials lists trials between recordings of data.dev; set data.dev")
        if self.model.name == "mean_fbank" and self.front_end.normalise != "none":
            raise ValueError("model mean_fbank gives zeros for normalised features; set front_end.normalise to none")
        if isinstance(self.loss, DINOConfig) and self.train.ema is None:
            raise ValueError(
                "loss 'dino' learns from the moving average of the weights; set train.ema, for example to "
                "{decay: 0.996, warm_up: false}"
            )
        if isinstance(self.loss, DINOConfig) and self.distil is not None:
            raise ValueError("loss 'dino' has the moving average of the weights as teacher; leave out distil")
        if self.data.positives is not None and (
            self.data.speakers != RECORDINGS or self.data.utterances_per_speaker is None
        ):
            raise ValueError(
                "data.positives finds other recordings for the pairs of a recording; set data.speakers to recordings, "
                "and data.utterances_per_speaker to 2 or more"
            )
        self._check_batches()
        return self

    def _check_batches(self) -> None:
        size, each = self.train.batch_size, self.data.utterances_per_speaker
        compares = isinstance(self.loss, PairConfig | DINOConfig)
        if compares and (each is None or size < 2 * each):
            raise ValueError(
                f"loss '{self.loss.name}' compares utterances within a batch; set data.utterances_per_speaker to 2 or "
                "more, and train.batch_size to twice that or more"
            )
        if compares and self.train.accumulate > 1:
            raise ValueError(f"loss '{self.loss.name}' compares utterances within a batch; set train.accumulate to 1")
        if each is not None and self.data.shuffle_gb is not None:
            raise ValueError("data.utterances_per_speaker draws speakers from all shards; leave out data.shuffle_gb")
        if each is not None and self.data.shards == "per_node":
            raise ValueError("data.utterances_per_speaker draws speakers from all shards; set data.shards to all")
        if size % self.train.accumulate:
            raise ValueError(f"train.batch_size {size} is not a multiple of train.accumulate {self.train.accumulate}")
        if each is not None and size % each:
            raise ValueError(f"train.batch_size {size} is not a multiple of data.utterances_per_speaker {each}")
