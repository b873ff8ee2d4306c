"""Parameters by their names: what a pattern means, what is frozen, and which learning rate a parameter has.

Names are those of the checkpoint: `network.…` is the network, `loss.head` the class weights. A pattern is a name with
`*`, `?` and `[…]` as in file names, of parameters or of a module, which stands for all that is in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from spkver.errors import InputError


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means the parameter or module of that name."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def named_by(pattern: str, names: Iterable[str], key: str) -> list[str]:
    """The names that a pattern means. Raises InputError, with the key of the config and near names, if it is none."""
    known = list(names)
    found = [name for name in known if matches(name, pattern)]
    if not found:
        raise InputError(f"{key}: '{pattern}' matches no parameter{_near(pattern, known)}")
    return found


def freeze(modules: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Take the parameters that patterns mean out of the training.

    Returns the modules that are to stay in evaluation mode, those of which nothing is left to train: else batch norm
    would move with the batches, and dropout draw, in a layer that is meant to stay as it is. Raises InputError for a
    pattern that means nothing, and where nothing is left to train at all.
    """
    parameters = dict(modules.named_parameters())
    for pattern in patterns:
        for name in named_by(pattern, parameters, "train.freeze"):
            parameters[name].requires_grad_(False)
    if parameters and not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError(f"train.freeze: {', '.join(patterns)} leave nothing to train; freeze less")
    return list(_still(modules, "", patterns)) if patterns else []


def _still(module: nn.Module, name: str, patterns: Sequence[str]) -> Iterator[nn.Module]:
    own = list(module.parameters())
    if (own and not any(one.requires_grad for one in own)) or any(matches(name, pattern) for pattern in patterns):
        yield module
        return
    for child_name, child in module.named_children():
        yield from _still(child, f"{name}.{child_name}" if name else child_name, patterns)


def lr_factors(names: Iterable[str], patterns: Mapping[str, float]) -> dict[str, float]:
    """The factor on the learning rate of each parameter: that of the last pattern that means it, or 1.

    Raises InputError for a pattern that means nothing.
    """
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in patterns.items():
        factors.update(dict.fromkeys(named_by(pattern, factors, "train.lr_factors"), factor))
    return factors


def _near(pattern: str, names: Sequence[str]) -> str:
    """A hint: parameters, or modules that hold some, whose names are like it; else the outermost modules."""
    modules = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    close = difflib.get_close_matches(pattern, sorted({*names, *modules}), n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(one) for one in close)}?"
    tops = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
    return f"; known: {', '.join(tops)}, and what is in them"
