"""Map names in YAML to classes; a module is imported when its name is used.

A component is a class whose attribute `Config` is its config:

    class XVector(nn.Module):
        Config = XVectorConfig          # a spkver.config.Component
        def __init__(self, config: XVectorConfig, ...): ...

and one line in a registry: `MODELS = Registry("model", {"xvector": "spkver.models.xvector:XVector"})`.

An installed package adds components by entry points in its pyproject.toml. The group is `spkver.` and the kind:

    [project.entry-points."spkver.model"]
    mine = "my_package.networks:Mine"
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spkver.errors import InputError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Registry:
    """The components of one kind, by name.

    A preset is a name that sets some fields. It can refer to a component (`resnet34` is `resnet` with `depth: 34`), or
    be the name of the component itself (`bd_lmcl`), which its config keeps.
    Components of installed packages are listed after those of spkver and cannot replace them.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], presets: Mapping[str, Mapping[str, Any]] = {}) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self.presets = dict(presets)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r})"

    def __iter__(self) -> Iterator[str]:
        return iter([*self._entries, *self._installed])

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        """The components of other packages, by name."""
        from importlib.metadata import entry_points  # not at the start of every command

        found = entry_points(group=f"spkver.{self.kind.replace(' ', '_')}")
        return {point.name: point for point in found if point.name not in {*self._entries, *self.presets}}

    def get(self, name: str) -> Any:
        """The class of a name. Raises InputError with the nearest known name, or the reason why it does not load."""
        if name not in self._entries:
            return self._load(name)
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def _load(self, name: str) -> Any:
        """The class of a name in an installed package."""
        if name not in self._installed:
            raise InputError(f"unknown {self.kind} '{name}'{nearest(name, [*self, *self.presets])}")
        point = self._installed[name]
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            package = f" of {point.dist.name}" if point.dist else ""
            raise InputError(f"{self.kind} '{name}'{package}: {point.value} cannot be loaded ({error})") from error

    def expand(self, keys: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keys of a component, with those of the preset as defaults if `name` is a preset."""
        name = keys["name"]
        preset = {"name": name, **self.presets.get(str(name), {})}
        return merged(preset, {key: value for key, value in keys.items() if key != "name"})

    def build(self, config: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the component of a config. args, kwargs: passed to the class after the config."""
        return self.get(config.name)(config, *args, **kwargs)


def merged(base: Any, over: Any) -> Any:
    """Merge a value into its default: keys without a `name` change the default, any other value replaces it."""
    if not isinstance(over, Mapping) or "name" in over:
        return over
    if isinstance(base, str):  # a component given by name only
        base = {"name": base}
    if not isinstance(base, Mapping):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
