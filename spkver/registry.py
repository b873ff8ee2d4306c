"""Names in YAML to classes in modules; nothing is imported before its name is used.

A component is a class with a nested or module-level config named by its `Config` attribute:

    class XVector(nn.Module):
        Config = XVectorConfig          # a spkver.config.Component
        def __init__(self, config: XVectorConfig, ...): ...

and one line in its room's registry: `MODELS = Registry("model", {"xvector": "spkver.models.xvector:XVector"})`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from spkver.errors import InputError, nearest


class Registry:
    """The components of one kind, by name."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, name: str) -> Any:
        """The class of that name. Raises InputError naming the nearest known one."""
        if name not in self._entries:
            raise InputError(f"unknown {self.kind} '{name}'{nearest(name, self._entries)}")
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def build(self, config: Any, *args: Any, **kwargs: Any) -> Any:
        """The component that a config describes: its class called with the config and what else it needs."""
        return self.get(config.name)(config, *args, **kwargs)
