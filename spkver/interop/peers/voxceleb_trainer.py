"""voxceleb_trainer's checkpoints: tensor names begin with `__S__.` (the network) or `__L__.` (the loss)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout

LAYOUT = Layout(
    names=(
        (r"\.attention\.fc\.", ".se.fc."),
        (r"\.shortcut\.", ".downsample."),
        (r"^pooling\.attention\.", "attention."),
        (r"^seg_1\.", "fc."),
        (r"^", "__S__."),
    )
)


FAST = Layout(
    names=(
        (r"\.attention\.fc\.", ".se.fc."),
        (r"\.shortcut\.", ".downsample."),
        (r"^pooling\.attention\.0\.", "sap_linear."),
        (r"^pooling\.attention\.2\.weight$", "attention"),
        (r"^", "__S__."),
    ),
    ours=r"^pooling\.attention\.2\.bias$",  # has no effect in a softmax
)
UNUSED = r"^__L__\.|^__S__\.(torchfb|instancenorm)\."


class VoxCelebTrainer:
    """ResNetSE34V2 with attentive statistics pooling, and ResNetSE34L."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A file with tensor names that begin with `__S__.`."""
        try:
            return source.is_file() and any(name.startswith("__S__.") for name in _tensors(source))
        except InputError:
            return False

    @staticmethod
    def read(source: Path) -> Found:
        """Read a file. Raises InputError for other networks than ResNetSE34V2 (ASP) and ResNetSE34L."""
        tensors = _tensors(source)
        if "__S__.sap_linear.weight" in tensors:
            return _fast(tensors, source)
        known = "only ResNetSE34V2 with the encoder type ASP and ResNetSE34L are supported"
        try:
            channels, _, *kernel = tensors["__S__.conv1.weight"].shape
            width = tensors["__S__.attention.3.weight"].shape[0]
            hidden = tensors["__S__.attention.0.weight"].shape[0]
            dim, pooled = tensors["__S__.fc.weight"].shape
            squeezed = tensors["__S__.layer1.0.se.fc.0.weight"].shape[0]
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"{source}: {known}; it has no {error}") from error
        if kernel != [3, 3] or pooled != 2 * width:
            raise InputError(f"{source}: {known}; this is another (stem {kernel}, {pooled} pooled values)")
        fields = {
            "name": "resnet",
            "depth": 34,
            "channels": channels,
            "attention": "se",
            "reduction": channels // squeezed,
            "order": "relu_norm",
            "dim": dim,
            "pooling": {"name": "attentive_statistics", "hidden": hidden, "activation": "relu_norm", "floor": 1e-5},
        }
        return Found(
            source,
            "voxceleb_trainer's ResNetSE34V2",
            {"name": "voxceleb_trainer", "bins": width // channels},
            fields,
            tensors,
            LAYOUT,
            dropped=UNUSED,
            # the file does not say whether it was trained with --log_input
            front_ends={"voxceleb_trainer": "voxceleb_trainer", "voxceleb_trainer_linear": "voxceleb_trainer"},
        )


def _fast(tensors: dict[str, Any], source: Path) -> Found:
    """ResNetSE34L: its frequency axis is averaged, so the number of bins is that of the stored filters, or 40."""
    try:
        widths = [tensors[f"__S__.layer{number}.0.conv1.weight"].shape[0] for number in range(1, 5)]
        hidden, channels = tensors["__S__.sap_linear.weight"].shape
        dim, pooled = tensors["__S__.fc.weight"].shape
        tensors = {**tensors, "__S__.attention": tensors["__S__.attention"].reshape(1, -1)}
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{source}: similar to ResNetSE34L, but {error} is missing or has another shape") from error
    pooling = {"name": "self_attentive", "hidden": hidden}
    if pooled == 2 * channels:
        pooling = {"name": "multi_head", "heads": 1, "hidden": hidden, "floor": 1e-5}
    filters = next((value for name, value in tensors.items() if name.endswith("mel_scale.fb")), None)
    bins = filters.shape[-1] if filters is not None and filters.dim() == 2 else 40
    return Found(
        source,
        "voxceleb_trainer's ResNetSE34L",
        {"name": "voxceleb_trainer_fast", "bins": bins},
        {"name": "fast_resnet", "widths": widths, "dim": dim, "pooling": pooling},
        tensors,
        FAST,
        dropped=UNUSED,
        front_ends=dict.fromkeys(("voxceleb_trainer_fast", "voxceleb_trainer_fast_linear"), "voxceleb_trainer"),
    )


def _tensors(source: Path) -> dict[str, Any]:
    return tensors_in(read_checkpoint(source), source)
