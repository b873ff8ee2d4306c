"""The page that recognises voices, as a file and in a browser."""

from __future__ import annotations

import base64
import copy
import functools
import gzip
import hashlib
import io
import json
import re
import tarfile
import time

import numpy as np
import pytest
import soundfile

from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.export import page
from spkver.export.checking import voice
from spkver.export.page import PageConfig, PageExport
from spkver.interop.hub.files import cache
from spkver.verify.cohort import Voices, compare
from spkver.verify.model import load_model, mean_direction

pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

# a stand-in for onnxruntime-web: the embedding is the beginning of the waveform
STAND_IN = """export const env = { wasm: {} };
export class Tensor { constructor(type, data) { this.data = data; } }
export const InferenceSession = { create: async () => ({ run: async ({ waveform }) => (
  { embs: { data: waveform.data.slice(0, 192) }, seconds: { data: [waveform.data.length / 16000] } }) }) };
"""
STATE = "state"


def archive(path, **files):
    with tarfile.open(path, "w:gz") as out:
        for name, content in {page.PROGRAM: STAND_IN.encode(), page.WASM: b"\0asm", **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def packaged():
    return load_model()


@pytest.fixture(scope="module", autouse=True)
def one_conversion():
    """Convert a model to ONNX once, which takes seconds, and give each page a copy."""
    traced = functools.cache(page._traced)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_traced", lambda encoder: copy.deepcopy(traced(encoder)))
        yield


@pytest.fixture(scope="module")
def stand_in(packaged, tmp_path_factory):
    """The page of the packaged model with a stand-in for the runtime."""
    folder = tmp_path_factory.mktemp("page")
    runtime = archive(folder / "runtime.tgz")
    digest = base64.b64encode(hashlib.sha512(runtime.read_bytes()).digest()).decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "RUNTIME_SHA512", digest)
        PageExport(PageConfig(runtime=str(runtime))).write(packaged, folder / "page.html")
    return folder / "page.html"


def part(text, name):
    return re.search(rf'<script type="[a-z/]+" id="{name}">([^<]*)</script>', text)[1]


def test_page_forbids_every_connection(stand_in):
    text = stand_in.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and not {"connect-src", "img-src", "media-src", "frame-src"} & set(rules)
    assert not re.search(r"https?:|//cdn|\burl\(", re.sub(r'<script type="[^>]*>[^<]*', "", text))


def test_page_holds_the_model_and_its_decision(stand_in, packaged):
    import onnxruntime

    text = stand_in.read_text()
    facts = json.loads(part(text, "model"))
    assert (facts["id"], facts["threshold"]) == (packaged.model_id, packaged.decision.threshold)
    cohort = np.frombuffer(gzip.decompress(base64.b64decode(part(text, "cohort"))), "<i2").reshape(-1, facts["dim"])
    np.testing.assert_allclose(cohort / page.SCALE, packaged.cohort.vectors, atol=1 / page.SCALE)
    session = onnxruntime.InferenceSession(gzip.decompress(base64.b64decode(part(text, "network"))))
    waveform = voice(40000, 16000, 3)
    embedding, seconds = session.run(None, {"waveform": waveform[None]})
    heard = packaged.listen(waveform)
    assert embedding[0] @ heard.vector / np.linalg.norm(embedding) > 0.9999
    assert seconds[0] == pytest.approx(heard.seconds, abs=0.011)


def test_a_model_without_threshold_is_refused(tmp_path, tiny_model):
    with pytest.raises(InputError, match="no stored threshold: store one with spkver threshold"):
        PageExport(PageConfig()).write(Encoder.open(tiny_model), tmp_path / "page.html")


def test_another_runtime_is_refused(tmp_path, packaged):
    changed = archive(tmp_path / "runtime.tgz")
    with pytest.raises(InputError, match="SHA-512 differs"):
        PageExport(PageConfig(runtime=str(changed))).write(packaged, tmp_path / "page.html")
    with pytest.raises(InputError, match="there is no such file"):
        PageExport(PageConfig(runtime=str(tmp_path / "no.tgz"))).write(packaged, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists() and changed.exists()


# --- in a browser


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    return tmp_path_factory.mktemp("microphone") / "microphone.wav"


@pytest.fixture(scope="module")
def browser(open_browser, microphone):
    soundfile.write(microphone, voice(160000, 16000, 0), 16000)
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    return open_browser(*flags, f"--use-file-for-fake-audio-capture={microphone}")


def until_ready(browser):
    for _ in range(600):
        if browser.find_element("id", "record").is_enabled() and not browser.find_element("id", STATE).text.strip():
            return
        time.sleep(0.1)
    raise AssertionError(browser.find_element("id", STATE).text, browser.get_log("browser"))


def open_page(browser, path, width=1200):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(path.as_uri())
    until_ready(browser)


def choose(browser, path, samples):
    """Give a recording as a file."""
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    browser.execute_script("document.getElementById('answer').textContent = ''")
    browser.find_element("id", "file").send_keys(str(path))
    for _ in range(100):
        if browser.find_element("id", "answer").text or browser.find_element("id", STATE).text.strip():
            break
        time.sleep(0.05)
    until_ready(browser)
    return browser.find_element("id", "answer").text


def enrol(browser, name):
    browser.find_element("css selector", "#keep [type=checkbox]").click()
    field = browser.find_element("id", "name")
    field.clear()
    field.send_keys(name)
    browser.find_element("css selector", "#keep button").click()
    until_ready(browser)
    assert browser.find_element("id", "answer").text.startswith(f"{name} is enrolled")


def test_scores_of_the_page_are_those_of_verify(browser, stand_in, packaged):
    open_page(browser, stand_in)
    random = np.random.default_rng(0)
    lengths = (9000, 30000, 64000, 200000)
    waves = [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    for wave in waves[1:]:  # alike, so that the scores are about the threshold
        wave[:192] = waves[0][:192] + 0.5 * wave[:192]
    found = browser.execute_async_script(
        """const done = arguments[1];
        const waves = arguments[0].map((one) => Float32Array.from(one));
        (async () => {
          const heard = await Promise.all(waves.map((one) => engine.listen(one)));
          const person = engine.person(heard.slice(0, 2));
          return heard.slice(2).map((one) => [engine.score(person, one), engine.ratio(engine.score(person, one))]);
        })().then(done, (error) => done(String(error)));""",
        [wave[:192].tolist() + [0.1] * (len(wave) - 192) for wave in waves],
    )
    vectors = [wave[:192] / np.linalg.norm(wave[:192]) for wave in waves]
    seconds = np.array(lengths) / 16000
    one = Voices.of(mean_direction(vectors[:2])[None], packaged.cohort, seconds[:2].sum()[None])
    other = Voices.of(np.stack(vectors[2:]), packaged.cohort, seconds[2:])
    expected = compare(one, other, packaged.lengths)[0]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose([score for score, _ in found], expected, rtol=1e-3, atol=2e-3)
    ratios = [packaged.decision.calibration.ratio(score) for score in expected]
    np.testing.assert_allclose([ratio for _, ratio in found], ratios, rtol=2e-3, atol=3e-3)


def test_people_are_enrolled_recognised_and_forgotten(browser, stand_in, tmp_path):
    open_page(browser, stand_in)
    random = np.random.default_rng(1)
    ada, bob, stranger = (random.normal(0, 0.1, 64000).astype(np.float32) for _ in range(3))
    assert choose(browser, tmp_path / "1.wav", ada).startswith("Nobody is enrolled yet")
    enrol(browser, "Ada <b>")
    assert choose(browser, tmp_path / "2.wav", ada).startswith("This is Ada <b>")
    assert choose(browser, tmp_path / "3.wav", bob).startswith("Nobody known")
    enrol(browser, "Bob")
    assert choose(browser, tmp_path / "4.wav", bob).startswith("This is Bob")
    assert choose(browser, tmp_path / "5.wav", stranger).startswith("Nobody known")
    enrol(browser, "Twin")
    twin = stranger + 0.01 * ada
    assert choose(browser, tmp_path / "6.wav", twin).startswith("This is Twin")
    enrol(browser, "Copy")  # of the same voice
    assert "Ambiguous" in choose(browser, tmp_path / "7.wav", stranger)
    people = browser.find_element("id", "people")
    assert people.text.split("\n")[::3] == ["Ada <b>", "Bob", "Copy", "Twin"]
    people.find_elements("css selector", "button")[0].click()
    until_ready(browser)
    assert people.text.startswith("Bob")
    assert choose(browser, tmp_path / "8.wav", ada).startswith("Nobody known")
    browser.refresh()
    until_ready(browser)
    assert browser.find_element("id", "nobody").is_displayed()


def test_bad_recordings_are_told(browser, stand_in, tmp_path):
    open_page(browser, stand_in)

    def told(samples):
        soundfile.write(tmp_path / "x.wav", samples, 16000)
        return given(tmp_path / "x.wav")

    def given(path):
        browser.find_element("id", "file").send_keys(str(path))
        for _ in range(100):
            time.sleep(0.05)
            line = browser.find_element("id", STATE).text.strip()
            if browser.find_element("id", "record").is_enabled() and line:
                return line
        raise AssertionError(browser.find_element("id", "answer").text)

    assert told(np.zeros(32000)) == "Only silence arrived: check the microphone."
    assert told(voice(100, 16000, 0)) == "Too short: speak for two seconds or more."
    (tmp_path / "y.wav").write_bytes(b"RIFF" + bytes(1000))
    assert given(tmp_path / "y.wav") == "y.wav: the browser cannot read this recording."


@pytest.mark.parametrize("width", [1200, 390])
def test_page_fits_and_loads_nothing(browser, stand_in, width):
    open_page(browser, stand_in, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("blob:", "data:"))] == [stand_in.as_uri()]
    assert not browser.get_log("browser")
    refused = browser.execute_async_script(
        "const done = arguments[0]; fetch('https://example.org').then(() => done(false), () => done(true));"
    )
    assert refused and "Content Security Policy" in str(browser.get_log("browser"))


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_voice_is_recorded_by_the_microphone(browser, stand_in, how):
    from selenium.webdriver import ActionChains

    open_page(browser, stand_in)
    button = browser.find_element("id", "record")
    if how == "mouse":
        ActionChains(browser).click_and_hold(button).pause(2).release().perform()
    else:  # a short press starts it, the next ends it
        browser.execute_script("arguments[0].focus()", button)
        ActionChains(browser).send_keys(" ").pause(2).send_keys(" ").perform()
    time.sleep(0.3)
    until_ready(browser)
    assert browser.find_element("id", "answer").text.startswith("Nobody is enrolled yet")
    samples = browser.execute_script("return Array.from(heard)")
    assert 16000 < len(samples) < 16000 * 4 and 0.01 < np.std(samples) < 0.3
    assert button.get_attribute("aria-pressed") == "false" and button.text == "Hold and speak"


def test_real_runtime_gives_the_embeddings_of_the_model(browser, packaged, tmp_path):
    if not (cache() / page.base_name(page.RUNTIME)).is_file():
        pytest.skip("needs onnxruntime-web in the cache: run spkver export spkver/start page.html once")
    PageExport(PageConfig()).write(packaged, tmp_path / "page.html")
    open_page(browser, tmp_path / "page.html")
    wave = voice(48000, 16000, 5)
    found = browser.execute_async_script(
        """const done = arguments[1];
        engine.listen(Float32Array.from(arguments[0]))
          .then(({ vector, seconds }) => done([Array.from(vector), seconds]), (error) => done(String(error)));""",
        wave.tolist(),
    )
    heard = packaged.listen(wave)
    np.testing.assert_allclose(found[0], heard.vector, atol=1e-3)
    assert found[1] == pytest.approx(heard.seconds, abs=0.011)
