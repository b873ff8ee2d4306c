"""Select parameters by name, to freeze them or to change their learning rate.

Names are those of the checkpoint: `network.…` for the network, `loss.head` for the class weights. A pattern is the name
of a parameter or of a module, which means all of its parameters, with `*`, `?` and `[…]` as in file names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from spkver.errors import InputError


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches the parameter or module of that name."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def named_by(pattern: str, names: Iterable[str], key: str) -> list[str]:
    """The names that a pattern matches. Raises InputError with similar names if it matches none. key: for messages"""
    known = list(names)
    found = [name for name in known if matches(name, pattern)]
    if not found:
        raise InputError(f"{key}: '{pattern}' matches no parameter{_near(pattern, known)}")
    return found


def freeze(modules: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Freeze the parameters that match the patterns.

    Returns the modules without trainable parameters. They must stay in evaluation mode, so that batch norms and dropout
    do not change them. Raises InputError for a pattern without a match, and if nothing is left to train.
    """
    parameters = dict(modules.named_parameters())
    for pattern in patterns:
        for name in named_by(pattern, parameters, "train.freeze"):
            parameters[name].requires_grad_(False)
    if parameters and not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError(f"train.freeze: {', '.join(patterns)} leave nothing to train; remove some")
    return list(_frozen(modules, "", patterns)) if patterns else []


def _frozen(module: nn.Module, name: str, patterns: Sequence[str]) -> Iterator[nn.Module]:
    own = list(module.parameters())
    if (own and not any(one.requires_grad for one in own)) or any(matches(name, pattern) for pattern in patterns):
        yield module
        return
    for child_name, child in module.named_children():
        yield from _frozen(child, f"{name}.{child_name}" if name else child_name, patterns)


def lr_factors(names: Iterable[str], patterns: Mapping[str, float]) -> dict[str, float]:
    """The factor on the learning rate of each parameter: that of the last matching pattern, or 1.

    Raises InputError for a pattern without a match.
    """
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in patterns.items():
        factors.update(dict.fromkeys(named_by(pattern, factors, "train.lr_factors"), factor))
    return factors


def _near(pattern: str, names: Sequence[str]) -> str:
    """A hint for a pattern without a match: similar names of parameters and modules, or the top-level modules."""
    modules = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    close = difflib.get_close_matches(pattern, sorted({*names, *modules}), n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(one) for one in close)}?"
    tops = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
    return f"; known: {', '.join(tops)}, and their submodules"
