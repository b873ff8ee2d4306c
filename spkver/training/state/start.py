"""Fine-tuning: initial weights from a trained model, and class weights of the speakers that it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spkver.config import first_difference
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.losses.loss import Loss
from spkver.storage import located
from spkver.training.config import StartConfig
from spkver.training.data.classes import Class
from spkver.training.state.head import SavedHead

IGNORED = {"front_end.dither", "model.tuned", "model.source"}
"""Keys that may differ between two encoders that compute the same: dither is off in evaluation, and for self-supervised
encoders, another part may be trained, and their first weights do not matter."""


class Start:
    """The model and the head that a run takes its initial weights from.

    Raises InputError for files that are missing or damaged.
    """

    def __init__(self, config: StartConfig) -> None:
        self.config = config
        if located(config.model).is_file():
            raise InputError(
                f"start.model: {config.model} is a file and cannot be trained further; give a model directory"
            )
        self._model = Encoder.open(config.model)
        self._head = SavedHead.read(config.model) if config.head != "replace" else None

    def classes(self, own: Sequence[Class]) -> list[Class]:
        """The classes of the run: those of the data, then with `head: extend` the others of the model.

        Raises InputError with `head: keep`, if the model does not know a class of the data.
        """
        if self._head is None:
            return list(own)
        if self.config.head == "extend":
            return list(dict.fromkeys([*own, *self._head.classes]))
        known = set(self._head.classes)
        unknown = next((one for one in own if one not in known), None)
        if unknown is not None:
            raise InputError(
                f"start.head: {self._head.path} does not have the speaker {unknown}; set start.head to extend, which "
                "adds the speakers of the data, or to replace"
            )
        return list(own)

    def give(self, encoder: Encoder, loss: Loss, classes: Sequence[Class], say: Callable[[str], None]) -> None:
        """Set the weights of a new encoder and loss. Raises InputError if their configs differ from the model's."""
        if (found := first_difference(self._model.config, encoder.config, IGNORED)) is not None:
            key, before, after = found
            raise InputError(
                f"start.model: {self.config.model} has {key} {before}, the config has {after}; "
                f"take front_end and model from {self.config.model}/config.yaml"
            )
        encoder.network.load_state_dict(self._model.network.state_dict())
        kept = 0 if self._head is None else self._head.give(loss, classes)
        say(
            f"starting from {self.config.model} ({self._model.model_id}), "
            f"{kept} of {len(classes)} classes with its weights"
        )
