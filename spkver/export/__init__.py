"""Export models to other toolkits and runtimes: one file per format.

A format is a class with its options beside it, as a `Component` of the same name, and a line in this registry.
`spkver export MODEL OUT --to NAME` builds it from the options given and calls `write`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spkver.registry import Registry

if TYPE_CHECKING:
    from spkver.encoder import Encoder
    from spkver.files import StrPath


class Export(Protocol):
    """An export format: `Form(config)`."""

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write an encoder (on the CPU, in evaluation mode) atomically.

        Returns messages for the user, one per line. Raises InputError for an encoder that the format cannot represent;
        RunError if the export does not reproduce the embeddings of the encoder.
        """


EXPORTS = Registry(
    "export format",
    {
        "onnx": "spkver.export.onnx:OnnxExport",
        "wespeaker": "spkver.export.wespeaker:WeSpeakerExport",
        "model": "spkver.export.model:ModelExport",
        "page": "spkver.export.page:PageExport",
        "triton": "spkver.export.triton:TritonExport",
    },
)
