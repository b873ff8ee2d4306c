"""The page in a browser: what only a browser can say of it. Skipped where there is no Chromium with its driver."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from spkver import audio
from spkver.report.diarization import sounds, write_page
from spkver.report.page import Material, Settings, make_report
from spkver.rttm import Turn
from spkver.scoring.diarization import evaluate_turns


@pytest.fixture(scope="module")
def browser(open_browser):
    return open_browser()


@pytest.fixture(scope="module")
def path(evaluation, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    material = Material(evaluation.known, evaluation.embeddings, evaluation.runs, evaluation.data)
    settings = Settings(llr=True, replicates=20, worst=8, projection="pca")
    make_report(evaluation.systems, title="Two systems", settings=settings, material=material).write(out)
    return out


def show(browser, path, *, width=1200, scheme="light", script=True):
    """Reload the page; returns the URLs of all requests."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def column(browser, heading, number, *, shown=True):
    """The cells of a column of the first table below a heading, in their order."""
    return browser.execute_script(
        """const rows = [...document.querySelectorAll(`#${arguments[0]} tbody`)[0].rows];
        return rows.filter((row) => !arguments[2] || !row.hidden)
          .map((row) => row.cells[arguments[1]].textContent.trim());""",
        heading,
        number,
        shown,
    )


def test_page_loads_without_errors_or_requests(browser, path):
    requests = show(browser, path)
    assert not browser.get_log("browser")
    assert [address for address in requests if not address.startswith("data:")] == [path.as_uri()]


@pytest.mark.parametrize("script", [True, False])
def test_all_charts_are_drawn(browser, path, script):
    show(browser, path, script=script)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})  # or nothing can be asked
    charts = browser.execute_script(
        """return [...document.querySelectorAll("svg.chart")].map((chart) => {
          const box = chart.getBoundingClientRect();
          return {what: chart.getAttribute("aria-label"), width: box.width, height: box.height,
                  lines: [...chart.querySelectorAll("[data-name]")].map((line) => line.getTotalLength()),
                  dots: chart.querySelectorAll("circle").length};
        });"""
    )
    assert len(charts) == 8
    for chart in charts:
        assert chart["width"] > 300 and chart["height"] > 200, chart
        assert all(length > 50 for length in chart["lines"]), chart
        assert chart["lines"] or chart["dots"] == 72, chart
    assert len(browser.find_elements("css selector", "button")) == 0 or script


def test_tables_are_sorted_by_mouse_and_by_keyboard(browser, path):
    show(browser, path)
    head = browser.find_element("xpath", "//section[@id='worst-errors']//th[starts-with(., 'score')]")
    place = browser.execute_script("return arguments[0].cellIndex", head)
    before = [float(cell) for cell in column(browser, "worst-errors", place)]
    assert head.get_attribute("aria-sort") == "none"
    button = head.find_element("css selector", "button")
    button.click()
    assert [float(cell) for cell in column(browser, "worst-errors", place)] == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    browser.execute_script("arguments[0].focus()", button)
    browser.switch_to.active_element.send_keys("\ue007")  # enter
    assert [float(cell) for cell in column(browser, "worst-errors", place)] == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    test = browser.find_element("xpath", "//section[@id='worst-errors']//th[starts-with(., 'test')]//button")
    test.send_keys(" ")
    ids = column(browser, "worst-errors", 3)
    assert ids == sorted(ids, key=str.lower) and head.get_attribute("aria-sort") == "none"


def test_tables_are_filtered(browser, path):
    show(browser, path)
    controls = browser.find_element("css selector", "#worst-errors .controls")
    everything = column(browser, "worst-errors", 1)
    choice = controls.find_elements("css selector", "select")[1]
    choice.send_keys("false reject")
    assert set(column(browser, "worst-errors", 1)) == {"false reject"} < set(everything)
    name = column(browser, "worst-errors", 3)[0].lstrip("▶ ")
    controls.find_element("css selector", "input").send_keys(name.upper())
    rows = column(browser, "worst-errors", 3)
    count = controls.find_element("css selector", ".count").text
    assert 1 <= len(rows) < len(everything) and count == f"{len(rows)} of {len(everything)} rows"
    pairs = zip(column(browser, "worst-errors", 2), rows)
    assert all(name in " ".join(pair) for pair in pairs)


def test_charts_have_readout_for_keyboard_and_mouse(browser, path):
    from selenium.webdriver import ActionChains

    show(browser, path)
    chart = browser.find_element("css selector", "#trade-off svg.chart")
    readout = browser.find_element("css selector", "#trade-off .readout")
    browser.execute_script("arguments[0].focus()", chart)
    chart.send_keys("\ue014\ue014")  # to the right, twice
    first = readout.text
    assert "good <one> " in first and "poor " in first and first.count("%") == 3
    chart.send_keys("\ue012")  # to the left
    assert readout.text not in ("", first)
    ActionChains(browser).move_to_element(chart).perform()
    at = float(readout.text.split()[1])
    # the middle of the drawing lies a little to the left of that of the axes
    ends = [0.01 * float(text.text) for text in chart.find_elements("css selector", ".ticks text:not(.name)")]
    assert min(ends) < at / 100 < max(ends)


def test_readout_equals_numbers(browser, path):
    """The bin under the pointer has the values of the table."""
    show(browser, path)
    chart = browser.find_element("css selector", "#scores svg.chart")
    browser.execute_script("arguments[0].focus()", chart)
    chart.send_keys("\ue014")
    said = browser.find_element("css selector", "#scores .readout").text
    score = float(said.split(":")[0].split()[1])
    rows = browser.execute_script(
        """return [...document.querySelector("#scores tbody").rows]
             .map((row) => [...row.cells].map((cell) => parseFloat(cell.textContent)));"""
    )
    near = [row for row in rows if row[0] - 0.02 <= score <= row[1] + 0.02]
    targets = float(said.split("targets ")[1].split()[0])
    assert any(abs(row[2] - targets) < 0.02 for row in near), (said, near)


def test_one_speaker_is_highlighted(browser, path):
    show(browser, path)
    browser.find_element("css selector", "#embeddings figure > .controls select").send_keys("s03")
    on = browser.find_elements("css selector", "#embeddings g.on")
    assert [group.get_attribute("data-group") for group in on] == ["s03"]


def test_recordings_play_one_at_a_time(browser, path):
    show(browser, path)
    playing = """
      const [button, done] = arguments, audio = document.getElementById(button.dataset.plays);
      audio.addEventListener("timeupdate", () => audio.currentTime > 0 && done(button.textContent), {once: false});
      button.focus(); button.click();
    """
    first, *_, last = browser.find_elements("css selector", "#worst-errors button.play")
    assert browser.execute_async_script(playing, first) == "■"
    assert browser.execute_async_script(playing, last) == "■"
    paused = browser.execute_script(
        "return [...document.querySelectorAll('audio')].filter((audio) => !audio.paused).length"
    )
    assert paused <= 1 and not browser.get_log("browser")


def test_page_fits_phone(browser, path):
    show(browser, path, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    narrow = browser.execute_script("return [...document.querySelectorAll('svg.chart')].map((c) => c.clientWidth)")
    assert min(narrow) > 330


def test_dark_mode_and_light_print(browser, path):
    def background():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    show(browser, path, scheme="dark")
    assert background() == "rgb(20, 24, 28)"
    dark = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert background() == "rgb(255, 255, 255)"
    hidden = "return getComputedStyle(document.querySelector('.controls')).display"
    assert browser.execute_script(hidden) == "none"
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000


@pytest.fixture(scope="module")
def meeting(tmp_path_factory):
    """The page of a diarization of 100 s with its recording beside it."""
    folder = tmp_path_factory.mktemp("meeting")
    audio.write(folder / "talk.wav", np.zeros(1600000, np.float32), 16000)
    reference = [Turn("talk", 5.0 * n, 5.0 * n + 4, "AB"[n % 2]) for n in range(20)]
    hypothesis = [Turn("talk", start + 0.5, end, "1" if start != 80 else "2") for _, start, end, _ in reference]
    found = sounds(folder / "talk.wav", ["talk"], folder / "page.html")
    write_page(folder / "page.html", hypothesis, evaluate_turns(reference, hypothesis), reference, found)
    return folder / "page.html"


def detail(browser):
    """Labels of what can be selected in the window of a timeline, row by row."""
    return browser.execute_script(
        """return [...document.querySelectorAll(".detail .lane")].map((lane) => [lane.querySelector("span").textContent,
          ...[...lane.querySelectorAll("button")].map((turn) => turn.ariaLabel)]);"""
    )


def test_turns_of_a_timeline_are_played_by_keyboard(browser, meeting):
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, meeting)
    first = browser.find_element("css selector", ".detail .strip button")
    assert first.get_attribute("aria-label") == "play A, 0:00.0 to 0:04.0"
    second = browser.find_elements("css selector", ".detail .strip button")[1]
    browser.execute_script("arguments[0].focus()", second)
    second.send_keys("\ue007")  # Enter
    state = "const audio = document.querySelector('audio'); return [audio.currentTime, audio.paused, audio.readyState];"
    wait = WebDriverWait(browser, 15)
    wait.until(lambda browser: browser.execute_script(state)[0] > 10 and browser.execute_script(state)[2] > 2)
    assert browser.execute_script(state)[0] < 14.5
    browser.execute_script("document.querySelector('audio').currentTime = 13.9")
    wait.until(lambda browser: browser.execute_script(state)[1])  # paused at the end of the turn
    assert 13.9 <= browser.execute_script(state)[0] < 15
    assert browser.find_element("css selector", ".timeline .readout").text == "A, 0:10.0 to 0:14.0, 4.0 s"
    assert not browser.get_log("browser")


def test_window_of_a_timeline_is_moved_and_jumps_to_errors(browser, meeting):
    show(browser, meeting)
    assert [len(row) - 1 for row in detail(browser)] == [6, 0, 6, 12, 12, 0, 6]
    assert detail(browser)[-1][1] == "play confused, 0:00.5 to 0:04.0"
    later = browser.find_element("xpath", "//button[.='later']")
    later.click()
    rows = detail(browser)
    assert rows[0][0] == "A" and rows[0][1] == "play A, 0:40.0 to 0:44.0"
    assert rows[1] == ["2", "play 2 (found), 1:20.5 to 1:24.0"]
    browser.find_element("xpath", "//button[.='earlier']").click()
    for place in ("0:00.0", "0:00.5", "0:05.0"):
        browser.find_element("xpath", "//button[.='next error']").click()
        assert browser.find_element("css selector", ".timeline .readout").text == f"error at {place}"


def test_timeline_without_script_and_on_a_phone(browser, meeting):
    show(browser, meeting, script=False)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    drawn = browser.execute_script(
        """return [...document.querySelectorAll(".overview path")].map((path) => path.getTotalLength());"""
    )
    assert len(drawn) == 7 and min(drawn[:5]) > 50 and drawn[0] > 100
    show(browser, meeting, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
