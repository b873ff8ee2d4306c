from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from recipes.margin_geometry import style
from recipes.margin_geometry.digits import LOSSES as DIGIT_LOSSES
from recipes.margin_geometry.digits import digits
from recipes.margin_geometry.page import Experiment, Picture, Table, mean_and_deviation, write_experiment, write_page
from recipes.margin_geometry.speakers import LOSSES as SPEAKER_LOSSES
from recipes.margin_geometry.speakers import speakers
from recipes.margin_geometry.training import Plan
from spkver.errors import InputError

TINY = Plan(steps=2, hidden=4, looks=2)


def an_experiment() -> Experiment:
    with style.style():
        figure = style.canvas(2, 1)
        figure.add_subplot().plot([0, 1])
    table = Table("a < b", [["loss", "x"], ["A|B", "1"]])
    return Experiment("Title & more", "Words.", [table], [Picture("line", "A <line>", figure)], {"x": 1})


def test_an_experiment_on_disk(tmp_path):
    shown = write_experiment(an_experiment(), tmp_path / "out")
    assert shown.splitlines() == ["a < b", "", "loss  x", "-------", "A|B   1"]
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["line.png", "line.svg", "results.json", "results.md"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["numbers"] == {"x": 1}
    markdown = (tmp_path / "out" / "results.md").read_text()
    assert markdown.startswith("# Title & more\n") and r"| A\|B | 1 |" in markdown and "(line.png)" in markdown


def test_same_numbers_same_files(tmp_path):
    for name in ("one", "two"):
        write_experiment(an_experiment(), tmp_path / name)
    assert (tmp_path / "one" / "line.svg").read_bytes() == (tmp_path / "two" / "line.svg").read_bytes()


def test_the_page_stands_alone(tmp_path):
    write_experiment(an_experiment(), tmp_path / "out")
    write_page([tmp_path / "out", tmp_path / "out"], tmp_path / "index.html", title="A & B")
    page = (tmp_path / "index.html").read_text()
    HTMLParser().feed(page)
    assert "<title>A &amp; B</title>" in page and "A &lt;line&gt;" in page and page.count(">1</td>") == 2
    sources = re.findall(r'(?:src|href)="([^"]{20})', page)
    assert sources == ["data:image/svg+xml;b"] * 2


def test_a_page_of_nothing(tmp_path):
    with pytest.raises(InputError, match=r"no results\.json there; run its experiment first"):
        write_page([tmp_path], tmp_path / "index.html", title="")
    assert not (tmp_path / "index.html").exists()


def test_mean_and_deviation():
    assert mean_and_deviation([1, 2, 3], 1) == "2.0 ± 1.0"
    assert mean_and_deviation([1.26], 1) == "1.3"


def test_digits_from_training_to_pictures(tmp_path):
    found = digits([1, 2], plan=TINY)
    write_experiment(found, tmp_path / "out")
    assert [row[0] for row in found.tables[0].rows[1:]] == list(DIGIT_LOSSES)
    assert all("±" in cell for cell in found.tables[0].rows[1][1:])
    numbers = json.loads((tmp_path / "out" / "results.json").read_text())["numbers"]
    assert sum(map(sum, numbers["runs"]["softmax"]["1"]["test"]["confusion"])) == 597
    assert len(list((tmp_path / "out").glob("digits*.png"))) == 3


def test_speakers_from_training_to_pictures(tmp_path):
    found = speakers([7], plan=TINY)
    write_experiment(found, tmp_path / "out")
    for table in found.tables:
        assert [row[0] for row in table.rows[1:]] == list(SPEAKER_LOSSES)
        assert {len(row) for row in table.rows} == {12}
    numbers = json.loads((tmp_path / "out" / "results.json").read_text())["numbers"]
    assert len(numbers["two dimensions"]["BD-LMCL m = 0.2"]["7"]["history"]) == 3
    assert len(list((tmp_path / "out").glob("speakers*.svg"))) == 5


def test_a_loss_keeps_its_colour():
    some = style.colours(["softmax", "LMCL m = 0.1", "LMCL m = 0.2", "AAM m = 0.5"])
    assert list(some) == ["softmax", "LMCL m = 0.1", "LMCL m = 0.2", "AAM m = 0.5"]
    assert some["softmax"] == style.FAMILIES["softmax"] and some["AAM m = 0.5"] == style.FAMILIES["AAM"].lower()
    assert len(set(some.values())) == 4


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'spkver\[geometry\]'"):
        digits([1], plan=TINY)


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "recipes.margin_geometry", *map(str, words)], capture_output=True, text=True
    )


def test_the_command(tmp_path):
    made = run("margins", "--out", tmp_path / "margins")
    assert made.returncode == 0, made.stderr
    assert "LMCL m = 0.35" in made.stdout and "boundaries.png" in made.stdout
    made = run("page", tmp_path / "margins", "--out", tmp_path / "index.html")
    assert made.returncode == 0 and made.stdout == f"{tmp_path}/index.html\n"
    failed = run("page", tmp_path / "nothing", "--out", tmp_path / "other.html")
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1 and "results.json" in failed.stderr
