from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from spkver.config import Component, Config, Of, dump, load, save, validate
from spkver.errors import InputError
from spkver.registry import Registry

REPOSITORY = Path(__file__).parents[1]


class SmallConfig(Component):
    name: Literal["small"] = "small"
    width: int = Field(3, gt=0)


class Small:
    Config = SmallConfig


class LargeConfig(Component):
    name: Literal["large"] = "large"
    depth: Literal[18, 34] = 34


class Large:
    Config = LargeConfig


NETS = Registry("net", {"small": f"{__name__}:Small", "large": f"{__name__}:Large"})


class Inner(Config):
    rate: float = 0.1
    word: str = "no"
    flag: bool = False
    limit: float | None = 5.0
    ways: tuple[float, ...] = (1.0,)


class Tree(Config):
    inner: Inner = Inner()
    net: Annotated[Component, Of(NETS)] = Field(default="small", validate_default=True)
    nets: tuple[Annotated[Component, Of(NETS)], ...] = ()
    seed: int = 1


@pytest.fixture
def read(tmp_path):
    def make(text, *overrides):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return load(Tree, path, overrides)

    return make


def test_load_without_file_gives_defaults():
    assert load(Tree) == Tree()
    assert isinstance(Tree().net, SmallConfig)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rate: 1e-4", 1e-4),
        ("rate: 1", 1.0),
        ("rate: .5", 0.5),
        ("word: off", "off"),
        ("word: 12:30", "12:30"),
        ("word: 1e-4", "1e-4"),
        ("word: 007", "007"),
        ("word: 'null'", "null"),
        ("word: ''", ""),
        ("flag: off", False),
        ("flag: yes", True),
        ("flag: 'true'", True),
        ("limit: null", None),
        ("limit: ~", None),
        ("limit:", None),
        ("ways: [1, 1e-1]", (1.0, 0.1)),
    ],
)
def test_schema_determines_the_type_of_a_scalar(read, text, value):
    key, _, written = text.partition(":")
    inner = read(f"inner: {{{text}}}").inner
    assert getattr(inner, key) == value
    assert load(Tree, overrides=[f"inner.{key}={written.strip()}"]).inner == inner


def test_components_are_built_from_names_and_keys(read):
    assert read("net: large").net == LargeConfig()
    assert read("net: {name: large, depth: 18}").net.depth == 18
    assert read("net: {width: 5}").net == SmallConfig(width=5)  # the name of the default
    assert read("nets: [small, {name: large}]").nets == (SmallConfig(), LargeConfig())


def test_later_sources_win(read):
    tree = read("seed: 2\nnet: large\n", "seed=3", "net.depth=18", "inner.rate=2e-3", "seed=4")
    assert (tree.seed, tree.net.depth, tree.inner.rate) == (4, 18, 0.002)
    assert read("", "net=large").net == LargeConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1", ":1: unknown key 'sed'; did you mean 'seed'?"),
        ("seed: 1\ninner:\n  rate: 1\n  wrod: a", ":4: inner: unknown key 'wrod'; did you mean 'word'?"),
        ("net:\n  name: small\n  widht: 4", ":3: net: unknown key 'widht'; did you mean 'width'?"),
        ("nets:\n  - small\n  - name: large\n    dept: 18", ":4: nets.1: unknown key 'dept'; did you mean 'depth'?"),
        ("nets:\n  - small\n  - lage", ":3: nets.1: unknown net 'lage'; did you mean 'large'?"),
        ("nets:\n  - width: 3", ":2: nets.0: the net needs a name; known: large, small"),
        ("nets: small", ":1: nets: expected a list, got 'small'"),
        ("\nseed: much", ":2: seed: Input should be a valid integer"),
        ("seed: 12:30", ":1: seed: Input should be a valid integer"),
        ("inner: 3", ":1: inner: expected keys and values, got '3'"),
        ("net: [small]", ":1: net: expected the name of a net, or its keys"),
        ("net: {name: large, depth: 50}", ":1: net.depth: Input should be 18 or 34, got '50'"),
        ("net: {width: 0}", ":1: net.width: Input should be greater than 0"),
        ("inner: {rate: nan}", ":1: inner.rate: Input should be a finite number"),
        ("seed: 1\nseed: 2", ":2: the key 'seed' is given twice"),
        ("- seed", ": expected keys and values"),
        ("seed", ": expected keys and values"),
        ("a: b: c", ":1: not valid YAML"),
        ("a: [1", "not valid YAML"),
        ("inner: !!python/object/apply:os.getcwd []", ":1: the tag !!python/object/apply:os.getcwd is not allowed"),
        ("inner: !mine {}", ":1: the tag !mine is not allowed"),
        ("inner: &a {inner: *a}", "contains itself"),
        ("? [a]\n: b", "a key must be a word"),
    ],
)
def test_error_in_a_file_names_line_and_key(read, tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path / 'c.yaml'}") and message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


class Factors(Config):
    factors: dict[str, Annotated[float, Field(gt=0)]] = {}
    parts: dict[str, Inner] = {}
    paths: str | tuple[str, ...] = ()


def test_error_names_keys_with_dots_and_hyphens(tmp_path):
    path = tmp_path / "c.yaml"
    for text, message in (
        ("factors:\n  net.a: 1\n  net.b-c: -1\n", "c.yaml:3: factors.net.b-c: Input should be greater than 0"),
        ("parts:\n  a-b:\n    rat: 1\n", "c.yaml:3: parts.a-b: unknown key 'rat'; did you mean 'rate'?"),
        ("paths: [a, [b]]\n", "c.yaml:1: paths"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load(Factors, path)
        assert f"{tmp_path}/{message}" in str(caught.value)


def test_override_changes_an_item_of_a_list(read):
    text = "nets: [small, {name: large}]\ninner: {ways: [1, 2]}\n"
    tree = read(text, "nets.0.width=5", "nets.1=small", "inner.ways.1=3")
    assert [net.width for net in tree.nets] == [5, Small.Config().width] and tree.inner.ways == (1.0, 3.0)


def test_override_names_an_item_of_a_list(read):
    text = "nets: [small, {name: large}]\n"
    assert read(text, "nets.small.width=5").nets[0] == Small.Config(width=5)
    with pytest.raises(InputError, match=r"override 'nets.small.width=x': nets.0.width"):
        read(text, "nets.small.width=x", "nets.1=small")
    with pytest.raises(InputError, match="several items small in a list of 2 items"):
        read("nets: [small, small]\n", "nets.small.width=5")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected key=value"),
        ("=1", "expected key=value"),
        ("sed=1", "override 'sed=1': unknown key 'sed'; did you mean 'seed'?"),
        ("seed=a", "override 'seed=a': seed: Input should be a valid integer"),
        ("seed.x=1", "override 'seed.x=1'"),
        ("inner.rate.x=1", "override 'inner.rate.x=1'"),
        ("net.widht=1", "override 'net.widht=1': net: unknown key 'widht'; did you mean 'width'?"),
        ("nets.1.width=1", "override 'nets.1.width=1': no item 1 in a list of 1 items, numbered from 0"),
        ("nets.first=small", "no item first in a list of 1 items"),
        ("nets.0.widht=1", "override 'nets.0.widht=1': nets.0: unknown key 'widht'"),
        ("inner.rate=[1", "override 'inner.rate=[1'"),
    ],
)
def test_error_in_an_override_quotes_it(read, override, message):
    with pytest.raises(InputError) as caught:
        read("seed: 1\nnets: [small]\n", override)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_unreadable_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load(Tree, tmp_path / "none.yaml")
    (tmp_path / "latin").write_bytes(b"word: \xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        load(Tree, tmp_path / "latin")


def test_dumped_config_loads_to_the_same(tmp_path):
    tree = validate(
        Tree,
        {
            "inner": {"rate": 1e-9, "word": "", "limit": None, "ways": [1, 2.5]},
            "net": {"name": "large", "depth": 18},
            "nets": ["small", {"name": "small", "width": 7}],
        },
    )
    save(tree, tmp_path / "c.yaml")
    assert load(Tree, tmp_path / "c.yaml") == tree
    assert "depth: 18" in dump(tree)


@pytest.mark.parametrize("word", ["null", "~", "off", "1e-4", "a: b", "#", "é", " x ", "- a", "!!str"])
def test_any_text_survives_dump_and_load(tmp_path, word):
    tree = Tree(inner=Inner(word=word))
    save(tree, tmp_path / "c.yaml")
    assert load(Tree, tmp_path / "c.yaml") == tree


def test_configs_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        Tree().seed = 3


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="unknown net 'smal'; did you mean 'small'"):
        NETS.get("smal")
    assert list(NETS) == ["small", "large"]


MISSPELT = """
from spkver.losses.margin_loss import MarginLossConfig
from spkver.recipe import Recipe


def read(loss: MarginLossConfig, recipe: Recipe) -> None:
    print(loss.schedules.m.values, loss.head.scale, recipe.front_end.bins, recipe.train.optimizer.lr)
    print(loss.schedules.m.valuse)
    print(loss.head.reduction.chunks)
    print(recipe.front_end.bnis)
    print(recipe.train.optimizer.rl)
"""


def test_mypy_knows_the_keys_of_a_component(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(tmp_path / "misspelt.py")]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    found = re.findall(r'error: "\w+" has no attribute "(\w+)"', said)
    assert found == ["valuse", "chunks", "bnis", "rl"], said
