from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from spkver import metrics
from spkver.errors import InputError
from spkver.report.page import Material, Settings, make_report
from spkver.scoring.comparison import compare
from spkver.scoring.evaluation import evaluate
from spkver.trials import Scores, Trials


class Page(HTMLParser):
    """The tags of a page, its tables as rows of cells by the heading above them, and its numbers."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.heading, self._inside = [], {}, "", ""
        self.numbers = json.loads(re.search(r'id="results">(.*?)</script>', text)[1])
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "h2":
            self.heading = ""
        if tag == "table":
            self.tables.setdefault(self.heading, []).append([])
        if tag == "tr":
            self.tables[self.heading][-1].append([])
        if tag in ("td", "th"):
            self.tables[self.heading][-1][-1].append("")
        if tag in ("h2", "td", "th"):
            self._inside = tag

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "h2":
            self.heading += data
        elif self._inside:
            self.tables[self.heading][-1][-1][-1] += data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def settings():
    return Settings(far=[0.05], llr=True, replicates=40, worst=10, projection="pca")


def html_of(*arguments, **named):
    return make_report(*arguments, **named).html


@pytest.fixture(scope="module")
def whole(evaluation, settings):
    """The HTML of a page with all material."""
    material = Material(evaluation.known, evaluation.embeddings, evaluation.runs, evaluation.data)
    return html_of(evaluation.systems, title="A <title>", settings=settings, material=material)


def test_numbers_equal_evaluate_and_compare(evaluation, settings, whole):
    shown = Page(whole)
    (head, *rows), differences = shown.tables["Results"]
    assert [row[0] for row in rows] == list(evaluation.systems)
    speakers = dict(zip(evaluation.known["id"].to_pylist(), evaluation.known["speaker"].to_pylist()))
    compared = compare({name: [own] for name, own in evaluation.systems.items()}, speakers, replicates=40)
    for row, (name, scores) in zip(rows, evaluation.systems.items()):
        found = evaluate(scores, far=[0.05], llr=True)
        assert shown.numbers["systems"][name] == json.loads(json.dumps(found.plain()))
        cells = dict(zip(head, row))
        low, high = compared.systems[name]["EER"].speakers
        assert cells["EER %"] == f"{100 * found.eer:.2f} ({100 * low:.2f}–{100 * high:.2f})"
        low, high = compared.systems[name]["minDCF vox-0.01"].speakers
        assert cells["minDCF vox-0.01"] == f"{found.min_dcf['vox-0.01'].cost:.4f} ({low:.4f}–{high:.4f})"
        assert cells["actDCF vox-0.05"].split()[0] == f"{found.act_dcf['vox-0.05']:.4f}"
        assert cells["FRR at FAR 5 %"].split()[0] == f"{100 * found.frr[0.05].miss:.2f}"
        assert cells["Cllr"].split()[0] == f"{found.cllr:.4f}" and cells["min Cllr"] == f"{found.min_cllr:.4f}"
        assert cells["EER threshold"] == f"{found.eer_threshold:.4f}"
    gain = compared.systems["poor"]["EER"].difference
    assert differences[1][:3] == ["poor", "EER", f"{100 * gain.mean:+.2f} %"]
    assert differences[1][4] == f"{gain.p_value:.3f}"


def test_miss_rates_in_table_are_exact(evaluation, whole):
    ((head, *rows),) = Page(whole).tables["Trade-off"]
    assert head == ["false alarms", "good <one>: misses %", "poor: misses %"]
    for row in rows:
        rate = float(row[0].split()[0]) / 100
        for cell, scores in zip(row[1:], evaluation.systems.values()):
            curve = metrics.error_curve(scores.values, scores.labels)
            assert float(cell.split()[0]) == pytest.approx(
                100 * metrics.miss_at_false_alarm(curve, rate).miss, abs=0.006
            )


def test_worst_errors(evaluation, whole):
    ((_, *rows),) = Page(whole).tables["Worst errors"]
    for name, scores in evaluation.systems.items():
        threshold = evaluate(scores).eer_threshold
        own = [row for row in rows if row[0] == name]
        for error, wrong, order in (
            ("false accept", ~scores.labels & (scores.values >= threshold), -1),
            ("false reject", scores.labels & (scores.values < threshold), 1),
        ):
            expected = np.sort(order * scores.values[wrong])[:10] * order
            shown = [row for row in own if row[1] == error]
            np.testing.assert_allclose([float(row[-2]) for row in shown], expected, atol=6e-5)
            np.testing.assert_allclose([float(row[-1]) for row in shown], np.abs(expected - threshold), atol=6e-5)
    accepted = next(row for row in rows if row[1] == "false accept")
    one, other = accepted[4].split(" / ")
    assert one != other and accepted[2].strip("▶ ").startswith(one) and accepted[3].strip("▶ ").startswith(other)


def test_markup_in_names_is_escaped_and_nothing_is_loaded(whole):
    shown = Page(whole)
    assert not shown.of("img") and "A &lt;title&gt;" in whole
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    assert len(shown.of("script")) == 2
    loaded = [attributes[name] for _, attributes in shown.tags for name in ("src", "href") if name in attributes]
    assert loaded and all(source.startswith(("#", "data:audio/mpeg;base64,")) for source in loaded)
    assert "://" not in whole


def test_recordings_are_embedded_once_and_play(evaluation, whole):
    shown = Page(whole)
    sounds, links = shown.of("audio"), [link for link in shown.of("a") if link.get("class") == "play"]
    assert {link["href"] for link in links} == {f"#{sound['id']}" for sound in sounds}
    assert len({sound["id"] for sound in sounds}) == len(sounds) < len(links)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0]["src"].split(",")[1])))
    assert rate == 16000 and len(samples) == pytest.approx(16000, abs=1200)
    spectrum = np.abs(np.fft.rfft(samples[2000:14000]))
    pitch = np.argmax(spectrum) * 16000 / 12000
    name = next(link["data-recording"] for link in links if link["href"] == f"#{sounds[0]['id']}")
    assert pitch == pytest.approx(200 + 20 * int(name[1:3]), abs=3)


def test_recordings_are_embedded_only_on_request(evaluation, settings):
    text = html_of(evaluation.systems, settings=settings, material=Material(evaluation.known))
    shown = Page(text)
    assert not shown.of("audio") and "Recordings" not in shown.tables and "audio/mpeg" not in text


def test_sections_depend_on_material(evaluation, whole):
    def headings(text):
        return re.findall(r"<h2>(.*?)</h2>", text)

    assert headings(whole) == [
        *("Results", "Trade-off", "Scores", "Calibration", "Groups", "Speakers"),
        *("Embeddings", "Training", "Worst errors", "Recordings"),
    ]
    alone = html_of({"one": next(iter(evaluation.systems.values()))})
    assert headings(alone) == ["Results", "Trade-off", "Scores", "Calibration", "Worst errors"]
    assert "–" not in Page(alone).tables["Results"][0][1][1] and "No intervals: they need the speakers" in alone
    by_embeddings = html_of(
        evaluation.systems,
        settings=Settings(replicates=20, projection="pca"),
        material=Material(embeddings=evaluation.embeddings),
    )
    assert "–" in Page(by_embeddings).tables["Results"][0][1][1]


def test_text_columns_of_numbers_are_grouped_in_bands(evaluation, whole):
    captions = re.findall(r"<caption>By (.*?)</caption>", whole)
    assert captions == ["seconds", "gender", "age"]
    ages = Page(whole).tables["Groups"][2]
    assert ages[1][0].startswith("under ") and sum(int(row[1]) for row in ages[1:]) == int(
        next(iter(evaluation.systems.values())).labels.sum()
    )


def test_given_threshold(evaluation):
    shown = Page(html_of(evaluation.systems, settings=Settings(threshold=2.5, worst=1000)))
    ((_, *rows),) = shown.tables["Worst errors"]
    for name, scores in evaluation.systems.items():
        wrong = (scores.values >= 2.5) != scores.labels
        assert len([row for row in rows if row[0] == name]) == np.count_nonzero(wrong)


def test_same_input_gives_same_file(evaluation, settings, whole, tmp_path):
    material = Material(evaluation.known, evaluation.embeddings, evaluation.runs, evaluation.data)
    made = make_report(evaluation.systems, title="A <title>", settings=settings, material=material)
    assert made.write(tmp_path / "a.html") == tmp_path / "a.html"
    assert (tmp_path / "a.html").read_text() == whole


def test_order_of_trials_may_differ_but_not_the_trials(evaluation):
    good, poor = evaluation.systems.values()
    turned = poor.take(np.arange(len(poor))[::-1])
    straight, joined = (Page(html_of({"a": good, "b": other})) for other in (poor, turned))
    assert straight.numbers == joined.numbers and straight.tables["Worst errors"] == joined.tables["Worst errors"]
    with pytest.raises(InputError, match="trials of a are missing from b"):
        html_of({"a": good, "b": poor.take(np.arange(100))})


def test_page_of_long_list_is_small():
    rng = np.random.default_rng(0)
    size = 400_000
    ids = pa.array([f"u{i}" for i in range(2000)])
    sides = [
        pa.DictionaryArray.from_arrays(pa.array(rng.integers(2000, size=size).astype(np.int32)), ids) for _ in "ab"
    ]
    labels = rng.random(size) < 0.1
    text = html_of({"one": Scores(Trials(*sides, labels), rng.normal(size=size).astype(np.float32) + 2 * labels)})
    assert len(text) < 250_000
    assert Page(text).numbers["systems"]["one"]["trials"] == size


def test_scores_without_labels_and_ids_without_a_speaker(evaluation):
    bare = Scores(Trials(pa.array(["a"]), pa.array(["b"])), np.float32([1]))
    with pytest.raises(InputError, match="one: the scores have no labels"):
        html_of({"one": bare})
    with pytest.raises(InputError, match="the speaker of"):
        html_of(evaluation.systems, material=Material(evaluation.known.slice(0, 10)))
    with pytest.raises(InputError, match="no column 'genre'"):
        html_of(evaluation.systems, settings=Settings(by=["genre"], replicates=0), material=Material(evaluation.known))


def test_unreadable_recordings_are_named(evaluation, settings):
    from spkver.datadir import DataDir

    table = evaluation.data.table
    gone = table.set_column(table.column_names.index("path"), "path", pa.array(["/none.wav"] * len(table)))
    text = html_of(evaluation.systems, settings=Settings(worst=2), material=Material(recordings=DataDir(gone)))
    assert "/none.wav: no such file" in text and not Page(text).of("audio")
    with pytest.raises(InputError, match="is in the data directory"):
        html_of(evaluation.systems, material=Material(recordings=DataDir(table.slice(0, 0))))


def test_many_groups_and_long_lists_are_cut_with_a_note(evaluation, monkeypatch):
    known = evaluation.known.append_column("room", pa.array([f"r{i % 10}" for i in range(len(evaluation.known))]))
    settings = Settings(by=["room"])
    monkeypatch.setattr("spkver.report.page._AFFORDABLE", 1000)
    text = html_of(evaluation.systems, settings=settings, material=Material(known))
    found = re.search(r"By room, the 30 largest of (\d+) groups", text)
    assert int(found[1]) > 30 and len(Page(text).tables["Groups"][0]) == 31
    assert "they are computed only with --replicates" in text and "–" not in Page(text).tables["Results"][0][1][1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 0], [1, 0]),
        ([0, 1], [1, 0]),
        ([3] * 50, [1] * 10 + [0] * 40),
        (range(50), [0] * 40 + [1] * 10),
        ([1e30 * i for i in range(50)], [0] * 40 + [1] * 10),
    ],
    ids=["two trials", "two wrong ones", "all equal", "no errors", "huge"],
)
def test_degenerate_scores_give_finite_numbers(values, labels):
    enrol = [f"a{i % 7}" for i in range(len(values))]
    test = [f"b{(i + 1 - label) % 7}" for i, label in enumerate(labels)]
    scores = Scores(Trials(pa.array(enrol), pa.array(test), np.array(labels, bool)), np.float32(values))
    known = pa.table({"id": [f"{side}{i}" for side in "ab" for i in range(7)], "speaker": [*"0123456"] * 2})
    settings = Settings(llr=True, replicates=20, far=[0, 0.01, 1])
    text = html_of({"odd": scores}, settings=settings, material=Material(known))
    drawn = re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf)\b", drawn) and 'd="M"' not in drawn
