"""The typed schema over YAML.

A config is a tree of pydantic models. YAML scalars are read as text and given their type by the schema, so `1e-4` is
a float, and `off` or `12:30` are strings where the schema says so. An unknown key is an error that names the nearest
known one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, overload

import pydantic
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializeAsAny,
    TypeAdapter,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from spkver.errors import InputError, nearest, redacted
from spkver.files import StrPath, refuse_newer, write_text
from spkver.registry import Registry, merged
from spkver.text import is_text, read_text


class Config(BaseModel):
    """Base of every config: immutable, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for key in value:
            if key not in cls.model_fields:
                raise _UnknownKeyError(key, nearest(str(key), cls.model_fields))
        for item in value.values():
            _refuse_credentials(item)
        return {key: _of_field(item, cls.model_fields[key]) for key, item in value.items()}


def _refuse_credentials(value: Any) -> None:
    """Raises ValueError for a URL with a password or a signature: configs are stored with runs and models."""
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, str) and redacted(item) != item:
            raise ValueError(
                f"{redacted(item)}: a URL with a password or a query would be stored with the config; give it without "
                "(see docs/remote.md)"
            )


class Component(Config):
    """Base of the configs that a registry resolves by `name`."""

    name: str


# replacements for messages of pydantic that use Python terms instead of YAML terms
_WORDS = {
    "missing": "a value is required",
    "model_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "too_short": "expected at least one item",
}

ConfigT = TypeVar("ConfigT", bound=Config)


class _UnknownKeyError(ValueError):
    def __init__(self, key: str, hint: str) -> None:
        super().__init__(f"unknown key '{key}'{hint}")
        self.key = key


def _of_field(value: Any, field: FieldInfo) -> Any:
    """Complete a value from its field: choices that are not text, and keys of the default component."""
    if get_origin(field.annotation) is Literal:
        return next((choice for choice in get_args(field.annotation) if str(choice) == value), value)
    return merged(field.default, value)  # `train.optimizer.lr=0.2` is a key of the default optimizer


def refuse_unused(config: Config, why: str, *keys: str) -> None:
    """Refuse keys (`longest`, `shares.music`) that have no effect here, if they are not at their defaults.

    Defaults are allowed because a complete config states them. why: `with packs`. Raises ValueError naming the key.
    """
    for key in keys:
        *above, last = key.split(".")
        owner = config
        for part in above:
            owner = dict(owner)[part]
        field = type(owner).model_fields[last]
        of = next((part for part in field.metadata if isinstance(part, Of)), None)
        if dict(owner)[last] != (field.default if of is None else of.resolve(field.default)):
            raise ValueError(f"{key} has no effect {why}; leave it out")


@dataclass(frozen=True)
class Of:
    """Marks a component field, typed by the base of its configs: `loss: Annotated[LossConfig, Of(LOSSES)]`.

    A name alone means its default settings; keys without a `name` change the default component of the field.
    """

    registry: Registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Annotated[source, SerializeAsAny(), BeforeValidator(self.resolve)])

    def resolve(self, value: Any) -> Any:
        """The config of a component from its name or keys. Raises ValueError."""
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, Component):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"expected the name of a {self.registry.kind}, or its keys, got {value!r}")
        if "name" not in value:
            raise ValueError(f"the {self.registry.kind} needs a name{nearest('', self.registry)}")
        try:
            value = self.registry.expand(value)
            return self.registry.get(str(value["name"])).Config(**value)
        except InputError as error:
            raise ValueError(str(error)) from error


@overload
def load(schema: type[ConfigT], path: StrPath | None = None, overrides: Sequence[str] = ()) -> ConfigT: ...
@overload
def load(schema: Registry, path: StrPath | None = None, overrides: Sequence[str] = ()) -> Any: ...
def load(schema: type[Config] | Registry, path: StrPath | None = None, overrides: Sequence[str] = ()) -> Any:
    """Read a config: the schema's defaults, then the file, then `key.sub=value` overrides; later sources win.

    schema: the class of the config, or a registry if the config is that of one of its components
    Raises InputError with the file and the line, or the override, and the nearest known key.
    """
    text = read_text(path) if path is not None else ""
    tree = _parse(text, str(path))
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected keys and values (`key: value`), got {str(tree)[:80]!r}")
    refuse_newer(path or "", tree)
    given = [(override, _override(tree, override)) for override in overrides]
    return validate(schema, tree, where=lambda at: _place(path, text, given, at))


def read_yaml(path: StrPath) -> Any:
    """A YAML file without a schema: dicts, lists, and every value as text. Raises InputError as `load` does."""
    return _parse(read_text(path), str(path))


@overload
def validate(schema: type[ConfigT], tree: Any, where: Any = None) -> ConfigT: ...
@overload
def validate(schema: Registry, tree: Any, where: Any = None) -> Any: ...
def validate(schema: type[Config] | Registry, tree: Any, where: Any = None) -> Any:
    """Check a plain tree against a schema, see `load`.

    where: function that returns the prefix of an error message for a path in the tree
    """
    form: Any = Annotated[Component, Of(schema)] if isinstance(schema, Registry) else schema
    try:
        return TypeAdapter(form).validate_python(tree)
    except pydantic.ValidationError as failure:
        first = failure.errors()[0]
        at = _keys(tree, first["loc"])
        cause = first.get("ctx", {}).get("error")
        culprit = [*at, cause.key] if isinstance(cause, _UnknownKeyError) else at
        message = _WORDS.get(first["type"], first["msg"]).removeprefix("Value error, ")
        got = first.get("input")
        if first["type"] != "value_error" and not isinstance(got, Mapping):
            message += f", got {got!r}"
        prefix = where(culprit) if where else ""
        raise InputError(f"{prefix}{'.'.join(at) + ': ' if at else ''}{message}") from None


def _keys(tree: Any, path: Sequence[str | int]) -> list[str]:
    """The keys of a pydantic path in a tree, without the branches of unions that pydantic includes in it."""
    found = []
    for part in path:
        known = part in tree if isinstance(tree, Mapping) else isinstance(tree, list) and part in range(len(tree))
        if known:
            tree = tree[part]
        if known or not re.search(r"\W|^function-", str(part)):
            found.append(str(part))
    return found


def dump(config: Config) -> str:
    """The complete config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def save(config: Config, path: StrPath) -> None:
    """Write the complete config as YAML, atomically."""
    write_text(path, dump(config))


def flat(config: Config) -> dict[str, Any]:
    """The values of a config by their full keys, e.g. `train.optimizer.lr`."""
    return _flat(config.model_dump(mode="json"), "")


def first_difference(one: Config, other: Config, ignored: Collection[str] = ()) -> tuple[str, Any, Any] | None:
    """The first key, in alphabetical order, with different values in two configs, and both values; None if equal."""
    before, after = flat(one), flat(other)
    keys = (key for key in sorted((before | after).keys() - set(ignored)) if before.get(key) != after.get(key))
    return next(((key, before.get(key), after.get(key)) for key in keys), None)


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    below = (_flat(item, f"{prefix}.{name}" if prefix else name) for name, item in tree.items())
    return {key: value for part in below for key, value in part.items()}


def _parse(text: str, source: str) -> Any:
    # safe: BaseLoader does not construct objects, and the tree is built from its nodes here
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        return None if node is None else _plain(node, source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise InputError(f"{source}{line}: not valid YAML ({problem})") from error
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply, or contains itself") from error


def _plain(node: yaml.Node, source: str) -> Any:
    """A YAML node as dict, list, str or None."""
    place = f"{source}:{node.start_mark.line + 1}"
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise InputError(f"{place}: the tag {tag} is not allowed; write a plain value")
    if isinstance(node, yaml.ScalarNode) and not is_text(node.value):
        raise InputError(f"{place}: {node.value!r} contains a lone surrogate, which is not a character; replace it")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, source) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not is_text(key.value):
                raise InputError(f"{place}: a key must be a word")
            if key.value in tree:
                raise InputError(f"{source}:{key.start_mark.line + 1}: the key '{key.value}' is given twice")
            tree[key.value] = _plain(value, source)
        return tree
    assert isinstance(node, yaml.ScalarNode)
    return None if node.style is None and node.value in ("null", "~", "") else node.value


def _override(tree: Any, text: str) -> list[str]:
    """Set a value in the tree. Returns the path of its key, with the numbers of list items."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"override {text!r}: expected key=value, for example train.steps=100")
    *parents, last = key.split(".")
    node: Any = tree
    path = []
    for parent in parents:
        at = _key(node, parent, text)
        path.append(str(at))
        child = node[at] if isinstance(node, list) else node.get(at)
        if isinstance(child, str):  # `model: xvector` and then `model.channels=64`
            child = {"name": child}
        node[at] = child = {} if child is None else child
        if not isinstance(child, dict | list):
            raise InputError(f"override {text!r}: {parent} has no keys")
        node = child
    at = _key(node, last, text)
    node[at] = _parse(value, f"override {text!r}")
    return [*path, str(at)]


def _key(node: dict[str, Any] | list[Any], key: str, text: str) -> Any:
    """A key of a mapping, or the index of an item of a list, given by number or name.

    `augment.waveform.1.probability=0.2` or `augment.waveform.noise.probability=0.2`
    """
    if isinstance(node, dict):
        return key
    if key.isdecimal() and int(key) < len(node):
        return int(key)
    names = [item.get("name") if isinstance(item, dict) else item for item in node]
    if names.count(key) != 1:
        number = "several items" if key in names else "no item"
        raise InputError(f"override {text!r}: {number} {key} in a list of {len(node)} items, numbered from 0")
    return names.index(key)


def _place(path: StrPath | None, text: str, overrides: Sequence[tuple[str, list[str]]], at: Sequence[str]) -> str:
    """The source of a key: `override 'key=value': `, or `file:line: ` of its deepest part in the file."""
    for override, parts in reversed(overrides):
        if parts[: len(at)] == list(at)[: len(parts)]:
            return f"override {override!r}: "
    if path is None:
        return ""
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    line = None
    for part in at:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                break
            key, node = pairs[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return f"{path}:{line}: " if line else f"{path}: "
