"""The typed schema over YAML.

A config is a tree of pydantic models. YAML scalars are read as text and given their type by the schema, so `1e-4` is
a float, and `off` or `12:30` are strings where the schema says so. An unknown key is an error that names the nearest
known one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny, model_validator

from spkver.errors import InputError, nearest
from spkver.files import StrPath, write_text
from spkver.registry import Registry


class Config(BaseModel):
    """Base of every config: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'{nearest(str(key), cls.model_fields)}")
        return value


class Component(Config):
    """Base of the configs that a registry resolves by `name`."""

    name: str


ConfigT = TypeVar("ConfigT", bound=Config)


def component(registry: Registry) -> Any:
    """The field type of a component: `model: component(MODELS)`. A bare name stands for its defaults."""

    def resolve(value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            return value
        if "name" not in value:
            raise ValueError(f"a {registry.kind} needs a name{nearest('', registry)}")
        try:
            return registry.get(str(value["name"])).Config(**value)
        except InputError as error:
            raise ValueError(str(error)) from error

    return Annotated[SerializeAsAny[Component], BeforeValidator(resolve)]


def load(schema: type[ConfigT], path: StrPath | None = None, overrides: Sequence[str] = ()) -> ConfigT:
    """Read a config: the schema's defaults, then the file, then `key.sub=value` overrides; later sources win.

    Raises InputError with the file, the line and the nearest known key.
    """
    text = _read(path) if path is not None else ""
    tree = _parse(text, str(path))
    for override in overrides:
        _override(tree, override)
    return validate(schema, tree, where=lambda at: _place(path, text, at))


def validate(schema: type[ConfigT], tree: Any, where: Any = None) -> ConfigT:
    """Check a plain tree against a schema; `where` turns a path in the tree into the words before the message."""
    try:
        return schema.model_validate(tree)
    except pydantic.ValidationError as failure:
        first = failure.errors()[0]
        # pydantic names the branches of a union in its path; those are no keys of the file
        at = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
        message = first["msg"].removeprefix("Value error, ")
        got = first.get("input")
        if first["type"] != "value_error" and not isinstance(got, Mapping):
            message += f", got {got!r}"
        key = ".".join(at)
        prefix = where(at) if where else ""
        raise InputError(f"{prefix}{key + ': ' if key else ''}{message}") from None


def dump(config: Config) -> str:
    """The complete config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def save(config: Config, path: StrPath) -> None:
    """Write the complete config as YAML, whole or not at all."""
    write_text(path, dump(config))


def _read(path: StrPath) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error


def _parse(text: str, source: str) -> Any:
    # BaseLoader builds strings, lists and mappings only: it runs no code and guesses no types
    try:
        tree = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{source}{line}: not valid YAML ({getattr(error, 'problem', error)})") from error
    return _nulls({} if tree in (None, "") else tree)


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return None if value in ("null", "~", "") else value


def _override(tree: Any, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"override {text!r}: expected key=value, for example train.steps=100")
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        if isinstance(child, str):  # `model: xvector` and then `model.channels=64`
            child = {"name": child}
        node[parent] = child = {} if child is None else child
        if not isinstance(child, dict):
            raise InputError(f"override {text!r}: {parent} has no keys")
        node = child
    node[last] = _parse(value, f"override {text!r}") if value else None


def _place(path: StrPath | None, text: str, at: Sequence[str]) -> str:
    """`file:line: ` of a key path (of its deepest part that the file holds)."""
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
