"""Large self-supervised encoders (WavLM, wav2vec 2.0, HuBERT, w2v-BERT 2.0) from the package transformers.

The outputs of all layers are summed with trained weights (Yang et al., SUPERB, Interspeech 2021), or each is mapped by
an adapter and all are concatenated (Li et al., 2025, arXiv 2510.04213). The result is the input of any other network.

    front_end: waveform
    model: {name: ssl, source: microsoft/wavlm-base-plus, tuned: [encoder.layers.10, encoder.layers.11]}
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from spkver import compat
from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.models import MODELS
from spkver.models.base import Network
from spkver.models.gates import PruneConfig, Pruning
from spkver.models.lora import LoraConfig, adapt, merged, take_merged
from spkver.models.widths import narrow

# type in transformers, and the number of values per input frame; 1 is the waveform
KINDS = {"wavlm": 1, "wav2vec2": 1, "hubert": 1, "wav2vec2-bert": 80}
FRONT_ENDS = {1: "waveform", 80: "w2v_bert"}


class SslConfig(Component):
    """An encoder from a folder or the hub, and a network on the weighted sum of its layers.

    In a model directory, `encoder` is the configuration of the encoder, and `source` is not used.
    """

    name: Literal["ssl"] = "ssl"
    source: str = Field("", description="folder, or id on the hub (microsoft/wavlm-large, facebook/w2v-bert-2.0, ...)")
    encoder: str = Field("", description="configuration of the encoder as JSON, instead of a source; random weights")
    tuned: tuple[str, ...] = Field(
        (), description="name patterns of parameters or modules of the encoder to train, * for all; others are frozen"
    )
    frame_norm: bool = Field(
        False, description="bring every channel of the frames to mean 0 and variance 1 over time; UniSpeech: true"
    )
    lora: LoraConfig | None = Field(None, description="train low-rank changes of frozen weights; stored merged")
    prune: PruneConfig | None = Field(
        None, description="remove attention heads and feed-forward values; the stored encoder is smaller"
    )
    heads: dict[str, tuple[int, ...]] = Field({}, description="heads of each attention that remain of a pruned encoder")
    widths: dict[str, int] = Field({}, description="widths of the feed-forward layers of a pruned encoder")
    layers: Literal["sum", "adapters"] = Field("sum", description="weighted sum of the layers, or an adapter for each")
    adapter_dim: int = Field(128, gt=0, description="values per frame of each adapter")
    network: Annotated[Component, Of(MODELS)] = Field(
        default="pooled", description="network on the frames of the encoder", validate_default=True
    )

    @field_validator("tuned", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _prunes_once(self) -> SslConfig:
        if self.prune is not None and (self.lora is not None or self.heads or self.widths):
            raise ValueError(
                "prune needs a whole encoder: not pruned, and without lora (the model directory is merged)"
            )
        return self


class SslNetwork(Network):
    """Encoder, weighted sum or adapters of its layers, network.

    Raises InputError for a source that cannot be read or has an unsupported type, for unsuitable features, and for
    patterns in `tuned` without a match.
    """

    Config = SslConfig
    whole_seconds = 60.0  # the memory of the attention is quadratic in frames, 50 per second

    def __init__(self, config: SslConfig, bins: int) -> None:
        super().__init__()
        self.encoder, settings = _encoder(config)
        kind = str(settings["model_type"])
        if bins != KINDS[kind]:
            takes = FRONT_ENDS[KINDS[kind]]
            raise InputError(
                f"model ssl: a {kind} takes {KINDS[kind]} values per frame, not {bins}: `front_end: {takes}`"
            )
        narrow(self.encoder, config.heads, config.widths)
        plain = {"encoder": json.dumps(settings, sort_keys=True), "lora": None, "prune": None}
        self.resolved = config.model_copy(update=plain)
        size = int(settings["hidden_size"])
        self.stack = int(settings["feature_projection_input_dim"]) // bins if bins > 1 else 0
        self.frame_norm = config.frame_norm
        number = int(settings["num_hidden_layers"]) + 1
        if config.layers == "sum":
            self.weights = nn.Parameter(torch.zeros(number))
            self.adapters = None
        else:
            self.adapters = nn.ModuleList([_adapter(size, config.adapter_dim) for _ in range(number)])
            size = number * config.adapter_dim
        self.network: Network = MODELS.build(config.network, size)
        self.dim = self.network.dim
        self.min_frames = _least(settings, self.network.min_frames, self.stack)
        self.tuned = _choose(self.encoder, config.tuned)
        if config.lora is not None:
            adapt(self.encoder, config.lora)
            take_merged(self.encoder)
            self.tuned = True
        self.pruning = None
        if config.prune is not None:
            self.pruning, self.tuned = Pruning(config.prune, self.encoder), True
            self.register_load_state_dict_pre_hook(_take_plain)
        self.train(self.training)

    def train(self, mode: bool = True) -> SslNetwork:
        """As in `nn.Module`, but an encoder without trained parameters stays in evaluation mode, without dropout."""
        super().train(mode)
        self.encoder.train(mode and self.tuned)
        return self

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuned):
            found = self.encoder(self._input(features), output_hidden_states=True)
        # in transformers 5, the last of hidden_states lacks the final layer norm of large encoders
        layers = (*found.hidden_states[:-1], found.last_hidden_state)
        frames = self._frames(layers)
        if self.frame_norm:
            frames = functional.instance_norm(frames.transpose(1, 2)).transpose(1, 2)
        return self.network(frames)

    def _frames(self, layers: tuple[Tensor, ...]) -> Tensor:
        """The outputs of the layers (batch, frames, size) as one (batch, frames, values)."""
        if self.adapters is not None:
            return torch.cat([adapter(layer) for adapter, layer in zip(self.adapters, layers)], dim=-1).float()
        weights = self.weights.softmax(dim=0)
        return (weights[:, None, None, None] * torch.stack(layers).float()).sum(dim=0)

    def stored(self) -> dict[str, Tensor]:
        """See Network.stored; low-rank changes are added to the weights, and what is pruned is left out."""
        if self.pruning is None:
            return merged(self)
        state = self.pruning.of(self.state_dict(), "encoder.")
        del state["pruning.multipliers"]
        return state

    def stored_config(self) -> Component | None:
        """See Network.stored_config; it says which heads and widths remain."""
        if self.pruning is None:
            return self.resolved
        assert self.resolved is not None
        return self.resolved.model_copy(update=self.pruning.kept())

    def penalty(self, progress: float) -> Tensor | None:
        """See Network.penalty: the Lagrangian of the pruning."""
        return None if self.pruning is None else self.pruning.penalty(progress)

    def _input(self, features: Tensor) -> Tensor:
        if not self.stack:
            return features[..., 0]
        frames = features.shape[1] // self.stack * self.stack
        return features[:, :frames].unflatten(1, (-1, self.stack)).flatten(2)


def _take_plain(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let a network with gates also load the state of one without."""
    pruning = network.get_submodule("pruning")
    assert isinstance(pruning, Pruning)
    if f"{prefix}pruning.multipliers" not in state:
        pruning.take_plain(state, f"{prefix}encoder.")
        state[f"{prefix}pruning.multipliers"] = pruning.multipliers.detach()


def _adapter(size: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))


def _encoder(config: SslConfig) -> tuple[nn.Module, dict[str, Any]]:
    """Build the encoder; returns it and its configuration as plain data."""
    transformers = compat.transformers()
    if not config.encoder and not config.source:
        raise InputError("model ssl: give a source: a folder, or an id on the hub such as microsoft/wavlm-base-plus")
    where = "model.encoder" if config.encoder else config.source
    try:
        if config.encoder:
            settings = dict(json.loads(config.encoder))
            made = transformers.AutoConfig.for_model(str(settings.pop("model_type")), **settings)
        else:
            made = transformers.AutoConfig.from_pretrained(config.source)
        if made.model_type not in KINDS:
            raise InputError(f"{where}: a {made.model_type} is not one of {', '.join(KINDS)}")
        # masks and layer dropout use other random numbers, and the sum needs every layer
        made.apply_spec_augment, made.layerdrop, made.add_adapter = False, 0.0, False
        if config.encoder:
            encoder = transformers.AutoModel.from_config(made)
        else:
            encoder = transformers.AutoModel.from_pretrained(config.source, config=made, dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = (
            "" if config.encoder or Path(config.source).exists() else " (there is no such folder, so the hub was asked)"
        )
        raise InputError(f"{where}: the encoder cannot be opened{hint}: {reason}") from error
    return encoder, json.loads(made.to_json_string(use_diff=False))


def _choose(encoder: nn.Module, tuned: tuple[str, ...]) -> bool:
    """Enable gradients for the parameters that match the patterns only. Returns whether there are any."""
    names = [name for name, _ in encoder.named_parameters()]
    for pattern in tuned:
        if not any(_means(pattern, name) for name in names):
            parts = sorted({".".join(name.split(".")[:3]) for name in names})
            raise InputError(f"model.tuned: '{pattern}' matches no parameter; known: {', '.join(parts)}")
    for name, parameter in encoder.named_parameters():
        used = name != "masked_spec_embed"  # only used for masks
        parameter.requires_grad_(used and any(_means(pattern, name) for pattern in tuned))
    return bool(tuned)


def _means(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _least(settings: dict[str, Any], frames: int, stack: int) -> int:
    """The smallest number of values over time that gives that many frames."""
    if stack:
        return frames * stack
    for kernel, stride in reversed(list(zip(settings["conv_kernel"], settings["conv_stride"]))):
        frames = (frames - 1) * stride + kernel
    return frames
