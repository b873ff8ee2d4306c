"""Configs of the training loop: start, distillation, average of the weights, positives, and the loop itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spkver.augment.draw import Paths
from spkver.config import Config, Of
from spkver.schedules import SCHEDULES, ScheduleConfig
from spkver.training.optim import OPTIMIZERS, OptimizerConfig

WARM_UP_AND_DECAY = {
    "name": "piecewise",
    "points": ((0.0, 0.0), (0.05, 1.0), (1.0, 0.001)),
    "shape": ("linear", "exponential"),
}


class StartConfig(Config):
    """Fine-tune a trained model: start from its encoder and from its class weights of known speakers."""

    model: str = Field(
        description="model directory, `exp/a/model`; the class weights are in `exp/a/model-head.safetensors`"
    )
    head: Literal["keep", "extend", "replace"] = "keep"
    """class weights. keep: the model's weights of the speakers (and speeds) in the data, all of which it must have.
    extend: all the model's weights, and new ones for its unknown speakers in the data. replace: new ones for all"""


class DistilConfig(Config):
    """Also learn from a larger model: the network's embeddings should resemble the teacher's.

    The teacher embeds every crop during training (`model`), or its embeddings of the whole recordings are read from
    files (`embeddings`), which takes no time in training.
    """

    model: str | None = Field(None, description="model directory of the teacher, `exp/big/model`; it is not trained")
    embeddings: Paths = Field(
        (), description="the teacher's embeddings of all recordings, `spkver extract packs/train teacher.parquet`"
    )
    weight: float = Field(1.0, ge=0, description="factor on 1 - cosine, added to the loss; 0 only logs the cosine")
    relations: float = Field(
        0.0, ge=0, description="weight of the mean squared difference of the batch's pairwise cosines"
    )
    clean: bool = Field(False, description="the teacher gets the crop without augmentation")
    centre: bool = False
    """subtract from the teacher's length-normalised embeddings the mean of their file, or with `model` of 512 crops of
    their pack. With one for each corpus, the student does not learn what a corpus shares (language, microphones)"""

    @model_validator(mode="after")
    def _one_teacher(self) -> DistilConfig:
        if (self.model is None) == (not self.embeddings):
            raise ValueError("give the teacher's model or its embeddings, one of them")
        if self.clean and self.model is None:
            raise ValueError("clean needs a teacher's model; embeddings are those of whole recordings")
        return self

    @property
    def teacher(self) -> str:
        """The path of the model, or the paths of the embeddings."""
        return self.model or ", ".join(self.embeddings)


class EMAConfig(Config):
    """Exponential moving average of the weights, for dev EER and the saved model; the teacher of `loss: dino`."""

    decay: float = Field(0.999, gt=0, lt=1, description="share of the average that is kept at each step")
    warm_up: bool = Field(True, description="lower decay at the start: at most (1 + n) / (10 + n) after n steps")
    schedule: Annotated[ScheduleConfig, Of(SCHEDULES)] | None = None
    """factor on 1 - decay over the run, from 0 to 1; null: always 1"""

    @model_validator(mode="after")
    def _factors(self) -> EMAConfig:
        if self.schedule is not None and not all(0 <= value <= 1 for value in self.schedule.values):
            raise ValueError(f"schedule must stay between 0 and 1, got {list(self.schedule.values)}")
        return self


class PositivesConfig(Config):
    """Self-supervised positive sampling: the other utterances of a batch come from recordings of similar embeddings.

    Two crops of a recording share its microphone and room. So the pairs of a loss without labels are the crop of a
    recording and a crop of another one that is probably the same speaker's: one of the nearest in a memory of the
    embeddings that the network gave in training. Lepage & Dehak, "SSPS: Self-supervised positive sampling for robust
    self-supervised speaker verification", Interspeech 2025.
    """

    neighbours: int = Field(10, gt=0, description="number of nearest recordings to draw the positive from")
    start: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the run before positives are used; until then, pairs are crops of one recording",
    )
    every: int | None = Field(None, gt=0)
    """steps between searches for the nearest recordings; null: one epoch"""


class TrainingConfig(Config):
    """The training loop. Durations are in steps; margin, scale and the like have schedules in `loss`."""

    steps: int = Field(1000, ge=0, description="optimizer steps; 0 saves the untrained model")
    batch_size: int = Field(64, gt=0, description="utterances of a step, over all processes")
    accumulate: int = Field(1, gt=0)
    """parts into which a batch is split to save memory; their gradients are accumulated. The loss is still the mean
    over the batch, but batch norms and selectors that rank samples (hardest) see one part at a time"""
    batch_norm: Literal["sync", "local"] = "sync"
    """statistics over all processes, or of each process alone (those of the first are saved)"""
    optimizer: Annotated[OptimizerConfig, Of(OPTIMIZERS)] = Field(default="sgd", validate_default=True)
    lr_schedule: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default=WARM_UP_AND_DECAY, validate_default=True)
    """factor on the optimizer's lr"""
    lr_factors: dict[str, Annotated[float, Field(gt=0)]] = {}
    """factors on the learning rate by parameter name, `{loss.head: 10, network.layer1: 0.1}`; the last match wins"""
    freeze: tuple[str, ...] = ()
    """parameters that are not trained: `[network.layer1, "network.*.norm"]`; the name of a module means all of it"""
    ema: EMAConfig | None = Field(None, description="null: no average; `{}`: the defaults")
    clip_norm: float | None = Field(5.0, gt=0, description="maximum norm of the gradient; null: no limit")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """precision of the network; auto uses bf16 if the device supports it natively"""
    compile: bool | Literal["auto"] = "auto"
    """compile the network with torch.compile; auto does so if it is available and the run is long enough"""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (the GPU if there is one)"""
    threads: int | None = Field(None, gt=0, description="CPU threads; null: PyTorch's choice")
    log_every: int = Field(50, gt=0)
    """steps between log lines"""
    wandb: str | None = Field(None, description="project of Weights & Biases to log to; WANDB_MODE=offline works")
    dev_every: int = Field(500, gt=0)
    """steps between measurements of dev EER"""
    patience: int | None = Field(None, gt=0, description="stop after this many dev measurements without a lower EER")
    checkpoint_every: int = Field(500, gt=0)
    """steps between checkpoints"""
    keep_checkpoints: int = Field(2, gt=0)
    """number of newest checkpoints that are kept"""
    max_skipped: int = Field(10, ge=0)
    """steps with a non-finite loss or gradient are skipped; the run ends if more than this many are skipped in total"""
    timeout_minutes: float = Field(30.0, gt=0, description="how long a process waits for the others")
    final: Literal["last", "best", "average"] = "last"
    """weights of `model`: the last step's, those of the best dev EER, or the mean of the last checkpoints"""
    average_last: int = Field(5, gt=0, description="number of checkpoints in that mean")

    @model_validator(mode="after")
    def _learning_rates(self) -> TrainingConfig:
        if min(self.lr_schedule.values) < 0:
            raise ValueError(f"lr_schedule must not be negative, got {list(self.lr_schedule.values)}")
        return self

    @model_validator(mode="after")
    def _enough_checkpoints(self) -> TrainingConfig:
        if self.final == "average" and self.keep_checkpoints < self.average_last:
            raise ValueError(
                f"final: average uses the last {self.average_last} checkpoints, but keep_checkpoints is "
                f"{self.keep_checkpoints}; raise it, or lower average_last"
            )
        return self
