"""Models for other toolkits and runtimes: one file per form.

A form is a class with its options beside it, as a `Component` whose name is the form's, and a line in this registry.
`spkver export MODEL OUT --to NAME` builds it from the options given and calls `write`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spkver.registry import Registry

if TYPE_CHECKING:
    from spkver.encoder import Encoder
    from spkver.files import StrPath


class Export(Protocol):
    """One form: `Form(config)`."""

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write an encoder (on the CPU, in evaluation), whole or not at all.

        Returns what the user should be told, in lines. Raises InputError for an encoder that the form cannot hold,
        RunError where what was written does not give the encoder's embeddings.
        """


EXPORTS = Registry(
    "form",
    {
        "onnx": "spkver.export.onnx:OnnxExport",
        "wespeaker": "spkver.export.wespeaker:WeSpeakerExport",
        "model": "spkver.export.model:ModelExport",
    },
)
