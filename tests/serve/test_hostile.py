"""A fuzzer over the OpenAPI description; 10,000 requests: `python tests/serve/hostile.py URL 10000`."""

from __future__ import annotations

import json
import warnings

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra `test`)")


def test_hostile_requests_get_documented_answers(server, recording):
    from . import hostile

    running = server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counted = hostile.answers(running.url, 150)
    served = sum(number for (_, status), number in counted.items() if status == 200)
    assert counted.total() > 90 and served > 5, counted
    assert running.stop() == 0 and "internal error" not in running.said[0]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, '{"error": "internal error"}'),
        (422, '{"error": "two\\nlines"}'),
        (422, '{"error": "/tmp/x is missing"}'),
        (200, '"Traceback (most recent call last)"'),
        (422, "no json"),
    ],
)
def test_the_fuzzer_finds_bad_answers(status, text):
    from . import hostile

    with pytest.raises((AssertionError, json.JSONDecodeError)):
        hostile.check(status, {}, text, {"200": {}, "422": {}})
