"""What the YAML says about the training itself."""

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
    """Start from a finished model: its encoder's weights, and the class weights of the speakers that both runs know."""

    model: str = Field(
        description="model directory, `exp/a/model`; the class weights are in `exp/a/model-head.safetensors`"
    )
    head: Literal["keep", "extend", "replace"] = "keep"
    """class weights: those of the data's speakers (and speeds), all of which the model must know; those of all speakers
    of the model, and new ones for the data's that it does not know; or new ones for all"""


class DistilConfig(Config):
    """Learn from a larger model as well: the network's embeddings should resemble the teacher's.

    The teacher embeds every crop while the network trains (`model`), or it has embedded the whole recordings before
    (`embeddings`), which costs nothing in training.
    """

    model: str | None = Field(None, description="model directory of the teacher, `exp/big/model`; it stays as it is")
    embeddings: Paths = Field(
        (), description="the teacher's embeddings of all recordings, `spkver extract packs/train teacher.parquet`"
    )
    weight: float = Field(1.0, ge=0, description="of 1 - cosine beside the loss; 0 only measures the cosine")
    relations: float = Field(
        0.0, ge=0, description="weight of the mean squared difference of the batch's pairwise cosines"
    )
    clean: bool = Field(False, description="the teacher hears the crop as it was before augmentation")
    centre: bool = False
    """subtract from the length-normalised `embeddings` the mean of their file. With one file for each corpus, the
    student does not learn what a whole corpus shares (language, microphones)"""

    @model_validator(mode="after")
    def _one_teacher(self) -> DistilConfig:
        if (self.model is None) == (not self.embeddings):
            raise ValueError("give the teacher's model, or its embeddings")
        if self.clean and self.model is None:
            raise ValueError("clean is for a teacher's model; embeddings are of whole recordings as they are")
        if self.centre and not self.embeddings:
            raise ValueError("centre is for embeddings; a teacher's model has no corpus to take the mean of")
        return self

    @property
    def teacher(self) -> str:
        """The path of the model, or those of the embeddings."""
        return self.model or ", ".join(self.embeddings)


class EMAConfig(Config):
    """An exponential moving average of the weights, which dev EER and `model` are then of."""

    decay: float = Field(0.999, gt=0, lt=1, description="share of the average that a step leaves")
    warm_up: bool = Field(True, description="lower at first: at most (1 + n) / (10 + n) after n steps")


class TrainingConfig(Config):
    """Lengths are in steps; the numbers of the loss have schedules of their own."""

    steps: int = Field(1000, ge=0, description="0 writes the untrained model")
    batch_size: int = Field(64, gt=0, description="of all processes together")
    accumulate: int = Field(1, gt=0)
    """parts of a batch whose gradients are added up, when memory will not do; the loss is the mean over the batch all
    the same, but batch norms and selectors that rank samples (hardest) see a part at a time"""
    batch_norm: Literal["sync", "local"] = "sync"
    """with several processes: statistics over all of them, or each its own (the first one's are kept)"""
    optimizer: Annotated[OptimizerConfig, Of(OPTIMIZERS)] = Field(default="sgd", validate_default=True)
    lr_schedule: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default=WARM_UP_AND_DECAY, validate_default=True)
    """factor on the optimizer's lr"""
    lr_factors: dict[str, Annotated[float, Field(gt=0)]] = {}
    """a factor of their own for parameters by name, `{loss.head: 10, network.layer1: 0.1}`; the last fit holds"""
    freeze: tuple[str, ...] = ()
    """parameters that stay as they are, by name, `[network.layer1, "network.*.norm"]`; a module stands for all in it"""
    ema: EMAConfig | None = Field(None, description="null for none; `{}` for the defaults")
    clip_norm: float | None = Field(5.0, gt=0, description="greatest norm of the gradient; null for no limit")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """of the network's products; auto is bf16 where the device computes in it natively"""
    compile: bool | Literal["auto"] = "auto"
    """the network by torch.compile; auto compiles runs that are long enough for it to pay, where it can be done"""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto for the GPU where there is one"""
    threads: int | None = Field(None, gt=0, description="CPU threads; null leaves PyTorch's choice")
    log_every: int = Field(50, gt=0)
    """steps between lines of the log"""
    wandb: str | None = Field(
        None, description="project of Weights & Biases to log to as well; WANDB_MODE=offline works"
    )
    dev_every: int = Field(500, gt=0)
    """steps between measurements of dev EER"""
    patience: int | None = Field(None, gt=0, description="dev measurements without a lower EER that end the run")
    checkpoint_every: int = Field(500, gt=0)
    """steps between checkpoints"""
    keep_checkpoints: int = Field(2, gt=0)
    """how many stay, the newest"""
    max_skipped: int = Field(10, ge=0)
    """steps whose loss or gradient is not finite are left out; with more of them than this, in all, the run stops"""
    timeout_minutes: float = Field(30.0, gt=0, description="how long a process waits for another")
    final: Literal["last", "best", "average"] = "last"
    """which weights become `model`: of the last step, of the best dev EER, or the mean of the last checkpoints"""
    average_last: int = Field(5, gt=0, description="checkpoints in that mean")

    @model_validator(mode="after")
    def _enough_checkpoints(self) -> TrainingConfig:
        if self.final == "average" and self.keep_checkpoints < self.average_last:
            raise ValueError(
                f"final: average over {self.average_last} checkpoints needs keep_checkpoints of at least as many, "
                f"got {self.keep_checkpoints}"
            )
        return self
