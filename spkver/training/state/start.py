"""Where a run starts from: the weights of a finished model, and its rows for the speakers that both runs know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from spkver.config import flat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.losses.loss import Loss
from spkver.training.config import StartConfig
from spkver.training.state.head import Class, SavedHead

FREE = {"front_end.dither"}
"""What may differ between the model's encoder and the run's."""


class Start:
    """A model, and the head beside it, that a run takes its first weights from.

    Raises InputError for what is not there or cannot be read.
    """

    def __init__(self, config: StartConfig) -> None:
        self.config = config
        if Path(config.model).is_file():
            raise InputError(
                f"start.model: {config.model} is a file, which cannot be trained on; give a model directory"
            )
        self._model = Encoder.open(config.model)
        self._head = SavedHead.read(config.model) if config.head != "replace" else None

    def classes(self, own: Sequence[Class]) -> list[Class]:
        """The run's classes: its data's own and, with `head: extend`, after them those that only the model knows.

        Raises InputError for a class of the data that the model does not know, with `head: keep`.
        """
        if self._head is None:
            return list(own)
        if self.config.head == "extend":
            return list(dict.fromkeys([*own, *self._head.classes]))
        known = set(self._head.classes)
        unknown = next((one for one in own if one not in known), None)
        if unknown is not None:
            raise InputError(
                f"start.head: {self._head.path} does not know the speaker {unknown}; set start.head to extend, which "
                "adds the speakers of the data, or to replace"
            )
        return list(own)

    def give(self, encoder: Encoder, loss: Loss, classes: Sequence[Class], say: Callable[[str], None]) -> None:
        """Set the weights of a new encoder and loss. Raises InputError where they are of another form."""
        before, after = flat(self._model.config), flat(encoder.config)
        for key in sorted((before | after).keys() - FREE):
            if before.get(key) != after.get(key):
                raise InputError(
                    f"start.model: {self.config.model} has {key} {before.get(key)}, the config {after.get(key)}; "
                    f"take front_end and model from {self.config.model}/config.yaml"
                )
        encoder.network.load_state_dict(self._model.network.state_dict())
        kept = 0 if self._head is None else self._head.give(loss, classes)
        say(
            f"starting from {self.config.model} ({self._model.model_id}); "
            f"{kept} of {len(classes)} classes with its weights"
        )
