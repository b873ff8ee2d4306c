"""Explain the keys of a config, from the descriptions of its fields."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from spkver.config import Component, Config, Of, dump
from spkver.errors import InputError, nearest
from spkver.registry import Registry

WIDTH = 120
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def commented(config: Config) -> str:
    """The complete config as YAML, with the description of each key as a comment."""
    text = dump(config)
    comments = dict(_comments(config, yaml.compose(text, Loader=yaml.SafeLoader)))
    lines: list[str] = []
    for number, line in enumerate(text.splitlines()):
        comment = comments.get(number, "")
        if comment and len(line) + len(comment) + 4 > WIDTH:
            indent = " " * (len(line) - len(line.lstrip(" ")))
            lines += [f"{indent}# {part}" for part in textwrap.wrap(comment, WIDTH - 2 - len(indent))]
            comment = ""
        lines.append(f"{line}  # {comment}" if comment else line)
    return "\n".join([*lines, ""])


def explain(config: Config, key: str) -> str:
    """Explain a key, such as `loss.head`: its value, description, possible values, and the keys below it.

    Raises InputError naming the nearest key for an unknown key.
    """
    *above, last = key.split(".")
    owner = _Place(config)
    for part in above:
        owner = owner.below(part, key)
    here = owner.below(last, key)
    value = here.value
    shown = dict(value).get("name", "") if isinstance(value, Config) else _plain(value)
    lines = [f"{key}: {shown}".rstrip(), *textwrap.wrap(_text(here.field, value), WIDTH)]
    if owner.registry is not None and last == "name":
        facts = [f"one of: {', '.join(owner.registry)}"]
    else:
        facts = [] if here.field is None else list(_facts(here.field, owner.preset.get(last, here.field.default)))
    for fact in facts:
        lines += textwrap.wrap(fact, WIDTH, subsequent_indent="  ")
    if isinstance(value, Config):
        lines += ["", commented(value).rstrip()]
    return "\n".join([*lines, ""])


def keys(schema: type[Config], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key of a config class with its description, and its possible values and default.

    Keys of components are not listed, because they depend on the name of the component.
    """
    for name, field in schema.model_fields.items():
        component = _registry(field.annotation, field.metadata) is not None
        text = field.description or "" if component else _text(field, None)
        yield prefix + name, text, "; ".join(_facts(field, field.default))
        if not component and (below := _nested(field)) is not None:
            yield from keys(below, f"{prefix}{name}.")


@dataclasses.dataclass(frozen=True)
class _Place:
    """A value in the tree of a config."""

    value: Any
    field: FieldInfo | None = None
    """None for the root and for the items of a list"""
    registry: Registry | None = None
    """the registry of a component, or of the components of a list"""
    preset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """the keys that the name of this component, or of an enclosing one, sets"""

    def below(self, part: str, key: str) -> _Place:
        """The value under a part of the key."""
        if isinstance(self.value, Config) and part in type(self.value).model_fields:
            value, field = dict(self.value)[part], type(self.value).model_fields[part]
            registry = _registry(field.annotation, field.metadata)
            return _Place(value, field, registry, _preset(value, registry, self.preset.get(part)))
        if isinstance(self.value, tuple):
            for number, item in enumerate(self.value):
                if part in (str(number), item.name if isinstance(item, Component) else None):
                    return _Place(item, None, self.registry, _preset(item, self.registry))
        known = type(self.value).model_fields if isinstance(self.value, Config) else ()
        raise InputError(f"unknown key '{key}'{nearest(part, known)}")


def _preset(value: Any, registry: Registry | None, around: Any = None) -> Mapping[str, Any]:
    """The keys that the name of a component sets; keys of an enclosing preset win."""
    given = around if isinstance(around, Mapping) else {}
    if registry is None or not isinstance(value, Component):
        return given
    own = registry.expand({"name": value.name})
    return {**own, **given} if given.get("name", value.name) == value.name else own


def _comments(value: Any, node: Any) -> Iterator[tuple[int, str]]:
    """Line number and description of each key below a node of the dumped config."""
    if isinstance(value, Config) and isinstance(node, yaml.MappingNode):
        for key, below in node.value:
            item = dict(value)[key.value]
            yield key.start_mark.line, _text(type(value).model_fields[key.value], item)
            yield from _comments(item, below)
    elif isinstance(value, tuple) and isinstance(node, yaml.SequenceNode):
        for item, below in zip(value, node.value, strict=True):
            yield from _comments(item, below)


def _text(field: FieldInfo | None, value: Any) -> str:
    """The description of a field, or else the first paragraph of the docstring of its config class."""
    if field is not None and field.description:
        return " ".join(field.description.split())
    config = type(value) if isinstance(value, Config) else _nested(field) if field is not None else None
    return summary(config) if config is not None else ""


def summary(schema: type[Config]) -> str:
    """The first paragraph of the docstring of a config class."""
    return " ".join((schema.__doc__ or "").split("\n\n")[0].split())


def _nested(field: FieldInfo) -> type[Config] | None:
    """The config class that the values of a field have, or None."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)), None)


def _facts(field: FieldInfo, default: Any) -> Iterator[str]:
    """The possible values of a field, and its default."""
    registry = _registry(field.annotation, field.metadata)
    if registry is not None:
        yield f"one of: {', '.join(registry)}"
        if presets := [name for name in registry.presets if name not in registry]:
            yield f"presets: {', '.join(presets)}"
    elif get_origin(field.annotation) is Literal:
        yield f"one of: {', '.join(map(str, get_args(field.annotation)))}"
    bounds = [part for part in field.metadata if dataclasses.is_dataclass(part)]
    known = [(part, one.name) for part in bounds for one in dataclasses.fields(part) if one.name in SIGNS]
    limits = [f"{SIGNS[name]} {getattr(part, name)}" for part, name in known]
    if limits:
        yield f"allowed: {', '.join(limits)}"
    if default is PydanticUndefined:
        yield "required"
    elif not isinstance(default, Config):
        yield f"default: {_plain(default)}"


def _registry(annotation: Any, metadata: Sequence[Any] = ()) -> Registry | None:
    """The registry of a component field, or None."""
    found = next((part.registry for part in metadata if isinstance(part, Of)), None)
    if found is not None or get_origin(annotation) is Literal:
        return found
    if get_origin(annotation) is Annotated:
        inner, *around = get_args(annotation)
        return _registry(inner, around)
    return next((one for part in get_args(annotation) if (one := _registry(part)) is not None), None)


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    plain = to_jsonable_python(value, serialize_as_any=True)
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
