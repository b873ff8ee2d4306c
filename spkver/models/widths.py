"""Self-supervised encoders with fewer attention heads and narrower feed-forward layers than their configuration says.

transformers has one number of heads and one width for all layers, so a pruned encoder is built in full size, and its
linear layers are replaced. What is kept is part of the config of the model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spkver.errors import InputError

ATTENTIONS = (("q_proj", "k_proj", "v_proj", "out_proj"), ("linear_q", "linear_k", "linear_v", "linear_out"))
FEED_FORWARD = ("intermediate_dense", "output_dense")
Kept = Mapping[str, Sequence[int]]


class Group(NamedTuple):
    """Units of a module that can be removed: heads of an attention, or hidden values of a feed-forward layer."""

    name: str
    module: Any
    inputs: tuple[str, ...]
    """the linear layers whose outputs are the units"""
    output: str
    """the linear layer whose input they are"""
    size: int
    """values of a unit"""

    @property
    def units(self) -> int:
        """How many there are."""
        return int(getattr(self.module, self.output).in_features) // self.size

    @property
    def parameters(self) -> int:
        """Parameters of one unit: its part of all the linear layers."""
        layers = [getattr(self.module, name) for name in self.inputs]
        rows = sum(int(layer.in_features) + int(layer.bias is not None) for layer in layers)
        return self.size * (rows + int(getattr(self.module, self.output).out_features))


def groups(encoder: nn.Module) -> Iterator[Group]:
    """The attentions and feed-forward layers of an encoder."""
    for name, module in encoder.named_modules():
        parts = {part for part, _ in module.named_children()}
        for *inputs, output in ATTENTIONS:
            if {*inputs, output} <= parts:
                size = int(getattr(module, "head_dim", 0) or getattr(module, "head_size", 0))
                yield Group(name, module, tuple(inputs), output, size)
        if set(FEED_FORWARD) <= parts:
            yield Group(name, module, FEED_FORWARD[:1], FEED_FORWARD[1], 1)


def narrow(encoder: nn.Module, heads: Kept, widths: Mapping[str, int]) -> None:
    """Give the attentions only the heads of these numbers, and the feed-forward layers these widths.

    The weights are new. Raises InputError for a name that the encoder does not have, and for heads beyond its own.
    """
    known = {group.name: group for group in groups(encoder)}
    wanted = {**{name: list(kept) for name, kept in heads.items()}, **{name: range(n) for name, n in widths.items()}}
    for name, kept in wanted.items():
        group = known.get(name)
        if group is None or not kept or not set(kept) <= set(range(group.units)):
            raise InputError(f"model: the encoder has no {name} with units {', '.join(map(str, list(kept)[-3:]))}")
        values = len(kept) * group.size
        for part in group.inputs:
            layer = getattr(group.module, part)
            setattr(group.module, part, nn.Linear(layer.in_features, values, bias=layer.bias is not None))
        layer = getattr(group.module, group.output)
        setattr(group.module, group.output, nn.Linear(values, layer.out_features, bias=layer.bias is not None))
        if hasattr(group.module, "gru_rel_pos_const"):  # WavLM: the position bias is computed for all heads
            group.module.torch_multi_head_self_attention = functools.partial(_attend, group.module, list(kept))
        elif group.output != FEED_FORWARD[1]:
            group.module.num_heads = len(kept)


def _attend(module: Any, kept: list[int], x: Tensor, mask: Tensor | None, bias: Tensor, *_: object) -> Any:
    """WavLM's attention with some heads. x: (batch, time, size); bias: (batch · all heads, time, time)"""
    query, key, value = (
        layer(x).unflatten(-1, (len(kept), module.head_dim)).transpose(1, 2)
        for layer in (module.q_proj, module.k_proj, module.v_proj)
    )
    bias = bias.unflatten(0, (x.shape[0], -1))[:, torch.tensor(kept, device=x.device)]
    dropout = module.dropout if module.training else 0.0
    found = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return module.out_proj(found.transpose(1, 2).flatten(2)), None


def cut(tensors: dict[str, Tensor], group: Group, prefix: str, kept: Tensor) -> None:
    """Keep these units of a group in a state_dict, in which the name of the group begins with a prefix."""
    rows = (kept[:, None] * group.size + torch.arange(group.size, device=kept.device)).flatten()
    start = f"{prefix}{group.name}."
    for part in group.inputs:
        for kind in ("weight", "bias"):
            if (name := f"{start}{part}.{kind}") in tensors:
                tensors[name] = tensors[name][rows]
    name = f"{start}{group.output}.weight"
    tensors[name] = tensors[name][:, rows]
