"""Explanations of config keys."""

from __future__ import annotations

from typing import Annotated, Literal, get_args, get_origin

import pytest
from pydantic import Field

from spkver.config import Component, Config, Of, load
from spkver.errors import InputError
from spkver.explain import WIDTH, commented, explain, keys
from spkver.recipe import Recipe
from spkver.registry import Registry


class SmallConfig(Component):
    """A small net.

    It is not large.
    """

    name: Literal["small"] = "small"
    width: int = Field(3, gt=0, description="of a layer")


class Small:
    Config = SmallConfig


NETS = Registry("net", {"small": f"{__name__}:Small"})


class Inner(Config):
    """Of the inside."""

    kind: Literal["round", "square"] = "round"
    """a description that does not fit on the line of the key, because it has more than a hundred and twenty characters
    with the key and the value"""


class Tree(Config):
    seed: int
    """of everything random"""
    inner: Inner = Inner()
    maybe: Inner | None = None
    net: Annotated[Component, Of(NETS)] = Field(default="small", validate_default=True)
    nets: tuple[Annotated[Component, Of(NETS)], ...] = ()
    """in their order"""


TREE = Tree(seed=1, nets=({"name": "small", "width": 5},))

SHOWN = """\
seed: 1  # of everything random
inner:  # Of the inside.
  # a description that does not fit on the line of the key, because it has more than a hundred and twenty characters
  # with the key and the value
  kind: round
maybe: null  # Of the inside.
net:  # A small net.
  name: small
  width: 3  # of a layer
nets:  # in their order
- name: small
  width: 5  # of a layer
"""


def test_commented_shows_each_description_as_a_comment(tmp_path):
    assert commented(TREE) == SHOWN
    (tmp_path / "shown.yaml").write_text(SHOWN)
    assert load(Tree, tmp_path / "shown.yaml") == TREE


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seed", "seed: 1\nof everything random\nrequired\n"),
        ("net.width", "net.width: 3\nof a layer\nallowed: > 0\ndefault: 3\n"),
        ("net", "net: small\nA small net.\none of: small\ndefault: small\n\nname: small\nwidth: 3  # of a layer\n"),
        ("nets", "nets: [{name: small, width: 5}]\nin their order\none of: small\ndefault: []\n"),
        ("nets.0", "nets.0: small\nA small net.\n\nname: small\nwidth: 5  # of a layer\n"),
        ("nets.0.width", "nets.0.width: 5\nof a layer\nallowed: > 0\ndefault: 3\n"),
        ("nets.small.width", "nets.small.width: 5\nof a layer\nallowed: > 0\ndefault: 3\n"),
        ("maybe", "maybe: null\nOf the inside.\ndefault: null\n"),
    ],
)
def test_explain_shows_value_description_and_choices(key, text):
    assert explain(TREE, key) == text


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("net.widht", "unknown key 'net.widht'; did you mean 'width'"),
        ("nets.1", "unknown key 'nets.1'$"),
        ("seed.x", "unknown key 'seed.x'$"),
        ("", "unknown key ''; known: inner, maybe, net, nets, seed"),
    ],
)
def test_explain_of_an_unknown_key_suggests_the_nearest(key, message):
    with pytest.raises(InputError, match=message):
        explain(TREE, key)


def test_keys_lists_nested_keys_but_not_those_of_components():
    listed = {key: (text, facts) for key, text, facts in keys(Tree)}
    assert list(listed) == ["seed", "inner", "inner.kind", "maybe", "maybe.kind", "net", "nets"]
    assert listed["seed"] == ("of everything random", "required")
    assert listed["inner"] == ("Of the inside.", "")
    assert listed["maybe"] == ("Of the inside.", "default: null")
    assert listed["maybe.kind"][1] == "one of: round, square; default: round"
    assert listed["net"] == ("", "one of: small; default: small")
    assert {key: facts for key, _, facts in keys(SmallConfig)}["width"] == "allowed: > 0; default: 3"


@pytest.mark.parametrize(
    ("loss", "key", "text"),
    [
        ("bd_lmcl", "loss.head", "default: normalised"),
        ("bd_lmcl", "loss.selector", "default: boundary"),
        ("bd_lmcl", "loss.selector.k", "default: 1"),
        ("sub_centre_aam", "loss.head.centres", "default: 3"),
        ("{name: bd_lmcl, selector: hardest}", "loss.selector.share", "default: 0.5"),
        ("a_softmax", "loss.schedules.m", "default: constant"),
        ("a_softmax", "loss.schedules.annealing.final", "default: 5.0"),
        ("bd_lmcl", "loss.name", "one of: softmax, nsl, lmcl"),
        (
            "bd_lmcl",
            "front_end",
            "one of: fbank, mel_spectrogram, nemo, tf_mel, waveform\npresets: wespeaker, 3dspeaker",
        ),
        ("bd_lmcl", "model.channels", "default: 512"),
    ],
)
def test_explain_shows_defaults_of_presets(tmp_path, loss, key, text):
    (tmp_path / "c.yaml").write_text(f"data: {{train: pack}}\nloss: {loss}")
    explained = explain(load(Recipe, tmp_path / "c.yaml"), key)
    assert f"\n{text}" in explained and "required" not in explained


def test_every_key_of_a_recipe_has_a_description():
    configs: set[type[Config]] = set()
    without = []

    def look(annotation, metadata=()):
        for registry in (part.registry for part in metadata if isinstance(part, Of)):
            for name in registry:
                walk(registry.get(name).Config)
        if get_origin(annotation) is Annotated:
            return look(get_args(annotation)[0], get_args(annotation)[1:])
        if isinstance(annotation, type) and issubclass(annotation, Config):
            return walk(annotation) or True
        found = [look(part) for part in get_args(annotation)]  # all of them
        return any(found)

    def walk(config):
        if config not in configs:
            configs.add(config)
            assert config.__doc__, config
            for name, field in config.model_fields.items():
                of_config = look(field.annotation, field.metadata)
                if not (field.description or of_config or name == "name"):
                    without.append(f"{config.__name__}.{name}")

    walk(Recipe)
    assert len(configs) > 50 and not without


def test_commented_recipe_fits_120_columns(tmp_path):
    (tmp_path / "c.yaml").write_text("data: {train: pack}")
    text = commented(load(Recipe, tmp_path / "c.yaml"))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "s: 30.0  # the scale of the cosines" in text
