"""The page of the service."""

from __future__ import annotations

import re
import time

import soundfile

from spkver.serve.tokens import Tokens, _digest


def test_page_allows_connections_to_the_service_only(client):
    answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', answer.text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["connect-src"] == "'self'"
    assert "unsafe" not in policy and 'id="token"' not in answer.text


def test_page_asks_for_a_token_where_the_service_does(serving):
    answer = serving(tokens=Tokens((("shop", _digest("t")),))).get("/")
    assert answer.status_code == 200 and 'type="password" id="token"' in answer.text


def test_people_are_enrolled_and_recognised_in_a_browser(open_browser, server, voice, tmp_path):
    running = server()
    browser = open_browser()
    browser.get(running.url)

    def until(found):
        for _ in range(300):
            if browser.find_element("id", "record").is_enabled() and found():
                return
            time.sleep(0.1)
        raise AssertionError(browser.find_element("tag name", "main").text, browser.get_log("browser"))

    def answer():
        return browser.find_element("id", "answer").text

    def choose(samples):
        soundfile.write(tmp_path / "x.wav", samples, 16000)
        browser.execute_script("document.getElementById('answer').textContent = ''")
        browser.find_element("id", "file").send_keys(str(tmp_path / "x.wav"))
        until(answer)
        return answer()

    until(lambda: browser.find_element("id", "nobody").is_displayed())
    assert choose(voice(120)).startswith("Nobody is enrolled yet")
    browser.find_element("css selector", "#keep [type=checkbox]").click()
    browser.find_element("id", "name").send_keys("Ada <i>")
    browser.find_element("css selector", "#keep button").click()
    until(lambda: answer().startswith("Ada <i> is enrolled"))
    assert choose(voice(120)).startswith("This is Ada <i>")
    browser.find_element("css selector", "#people button").click()
    until(lambda: browser.find_element("id", "nobody").is_displayed())
    assert not [entry for entry in browser.get_log("browser") if "Content Security" in entry["message"]]
    assert running.stop() == 0


def test_a_wrong_token_is_told_in_a_browser(open_browser, server, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"shop {_digest('right')}\n")
    tokens.chmod(0o600)
    browser = open_browser()
    browser.get(server("--tokens", tokens).url)
    field, state = browser.find_element("id", "token"), browser.find_element("id", "state")

    def until(found):
        for _ in range(100):
            if found():
                return
            time.sleep(0.05)
        raise AssertionError(state.text)

    field.send_keys("wrong", "\ue004")  # tab
    until(lambda: "no valid token" in state.text)
    field.clear()
    field.send_keys("right", "\ue004")
    until(lambda: not state.text.strip())
    assert browser.find_element("id", "nobody").is_displayed()
