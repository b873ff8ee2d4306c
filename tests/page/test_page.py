from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from spkver.page import Axis, Chart, Html, document, figure, html, legend, probit, section, series, span, table, ticks

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


class Tags(HTMLParser):
    """A parsed page: tags with attributes, and text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_markup_in_text_is_escaped():
    chart = Chart(Axis(HOSTILE, 0, 1, unit=HOSTILE), Axis(HOSTILE, 0, 1))
    chart.line([0, 1], [0, 1], 0, HOSTILE)
    chart.group(HOSTILE, [0.5], [0.5], 1, [HOSTILE])
    chart.rule(0.5, HOSTILE)
    chart.text(0.5, 0.5, HOSTILE)
    drawn = figure(chart.svg(HOSTILE), HOSTILE, key=legend([HOSTILE]), numbers=table([[HOSTILE], [HOSTILE]]))
    page = document(HOSTILE, section(HOSTILE, drawn, note=HOSTILE), data={"numbers": {HOSTILE: HOSTILE}})
    found = Tags(page)
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert len([tag for tag, _ in found.tags if tag == "script"]) == 2
    assert ("path", HOSTILE) in [(tag, attributes.get("data-name")) for tag, attributes in found.tags]
    numbers = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', page)
    assert json.loads(numbers[1]) == {HOSTILE: HOSTILE}


def test_page_loads_nothing_and_runs_only_its_script():
    page = document("title", Html("<p>words</p>"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and policy.count("'sha256-") == 2
    assert "://" not in page and " style=" not in page and not re.search(r"\ssrc=", page)


def test_table():
    made = table([["who", "rate"], ["a", "1"], [Html("<b>b</b>"), "2"]], title="T", sortable=True, pick=[0])
    assert '<table class="sortable" data-pick="0">' in made and "<caption>T</caption>" in made
    assert '<th scope="row"><b>b</b></th><td class="number">2</td>' in made
    assert '<th scope="col" class="number">rate</th>' in made


def test_markup_is_escaped_once():
    assert html("<") == "&lt;" == html(html("<"))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9), st.integers(2, 12))
def test_ticks_are_round_and_few(low, width, most):
    found = ticks(low, low + width, most)
    step = found[1] - found[0] if len(found) > 1 else None
    assert len(found) <= most + 1
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)
    if step:
        digit = step / 10 ** np.floor(np.log10(step * (1 + 1e-9)))
        assert min(abs(digit - whole) for whole in (1, 2, 5, 10)) < 1e-2


def test_span():
    assert span([1, np.nan, 3, np.inf]) == pytest.approx((0.94, 3.06))
    low, high = span([5, 5])
    assert low < 5 < high
    assert span([])[0] < span([])[1]


def test_probit_axis_uses_normal_quantiles():
    axis = Axis("miss", 0.001, 0.5, scale="probit")
    rates = np.array([0.001, 0.02, 0.5])
    expected = (norm.ppf(rates) - norm.ppf(0.001)) / (norm.ppf(0.5) - norm.ppf(0.001))
    np.testing.assert_allclose(axis.place(rates), expected)
    np.testing.assert_allclose(probit([0.1, 0.9]), norm.ppf([0.1, 0.9]))
    assert np.isfinite(probit([0, 1])).all()


def points(drawing, name):
    path = re.search(rf'data-name="{name}" d="M([^"]*)"', drawing)[1]
    return np.array([[float(number) for number in pair.split()] for pair in path.split("L")])


def test_line_follows_its_numbers_and_is_thinned():
    chart = Chart(Axis("x", 0, 10), Axis("y", -1, 1), height=154)  # 404 by 100 inside
    chart.line([0, 5, 10], [-1, 0, 1], 0, "three")
    x = np.linspace(0, 10, 50_000)
    chart.line(x, np.sin(x), 1, "many")
    drawing = chart.svg("two lines")
    np.testing.assert_allclose(points(drawing, "three"), [[0, 100], [202, 50], [404, 0]])
    many = points(drawing, "many")
    assert len(many) == 1000 and many[0, 0] == 0 and many[-1, 0] == 404
    np.testing.assert_allclose(1 - many[:, 1] / 50, np.sin(many[:, 0] / 40.4), atol=0.01)


def test_histogram_and_thresholds():
    chart = Chart(Axis("x", 0, 2), Axis("y", 0, 4), height=154)
    chart.steps([0, 1, 2], [2, 4], 0, "bars")
    chart.rule(1, "inside")
    chart.rule(np.inf, "outside")
    drawing = chart.svg("bars")
    np.testing.assert_allclose(points(drawing, "bars"), [[0, 100], [0, 50], [202, 50], [202, 0], [404, 0], [404, 100]])
    assert "inside" in drawing and "outside" not in drawing


def test_lines_are_distinguishable():
    assert len({series(number) for number in range(28)}) == 28


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_colours_have_enough_contrast():
    """Contrast of 4.5 for text and 3 for lines (Web Content Accessibility Guidelines 1.4.3 and 1.4.11)."""
    style = document("", Html(""))
    for scheme in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for name, colour in colours.items():
            light, dark = sorted(map(luminance, (colour, colours["paper"])), reverse=True)
            contrast = (light + 0.05) / (dark + 0.05)
            least = {"ink": 4.5, "soft": 4.5, "link": 4.5}.get(name, 3 if re.fullmatch(r"s\d|wrong", name) else 1)
            assert contrast >= least, (name, colour, contrast)
    assert len(colours) == 14
