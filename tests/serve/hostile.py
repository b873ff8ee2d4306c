"""`python hostile.py URL REQUESTS`: send hostile requests to a service, from its OpenAPI description.

Half of them have values that the description allows, half have values that it forbids. Every answer must be one that
the description names, errors must be one line of JSON, and no answer may have a path or a traceback.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import requests
import schemathesis
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

LEAKS = re.compile(r"Traceback|/tmp/|/home/|/usr/|site-packages|\.py\b|0x[0-9a-f]{8}")


def recordings() -> st.SearchStrategy[bytes]:
    """Recordings that are whole, cut, damaged, or none."""
    wholes = []
    for form, rate, channels, seconds in (("WAV", 16000, 1, 1.0), ("FLAC", 8000, 1, 0.5), ("OGG", 48000, 2, 0.4)):
        file, random = io.BytesIO(), np.random.default_rng(0)
        soundfile.write(file, 0.1 * random.normal(size=(round(rate * seconds), channels)), rate, format=form)
        wholes.append(file.getvalue())
    whole = st.sampled_from(wholes)
    cut = st.builds(lambda content, share: content[: round(share * len(content))], whole, st.floats(0, 1))

    def damaged(content: bytes, place: int, value: int) -> bytes:
        changed = bytearray(content)
        changed[place % len(content)] = value
        return bytes(changed)

    return whole | cut | st.builds(damaged, whole, st.integers(0, 200), st.integers(0, 255)) | st.binary(max_size=500)


def answers(url: str, number: int, chosen: int = 0) -> Counter[tuple[str, int]]:
    """Send `number` requests and count the answers by route and status. Raises AssertionError for a bad answer."""
    schemathesis.openapi.format("binary", recordings())
    schemathesis.openapi.format("byte", recordings().map(base64.b64encode).map(bytes.decode))
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    found: Counter[tuple[str, int]] = Counter()
    session = requests.Session()
    inputs = sum("requestBody" in operation.definition.raw for operation in operations)
    each = max(2, -(-number // inputs // 2))  # the others have a single request
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                cases = operation.as_strategy(generation_mode=mode)
                for status in _statuses(cases, each, chosen, url, session, operation.definition.raw["responses"]):
                    found[f"{operation.method.upper()} {operation.path}", status] += 1
            except (schemathesis.errors.SchemathesisError, Unsatisfiable):  # nothing can be wrong with it
                continue
    return found


def _statuses(
    cases: st.SearchStrategy[Any],
    number: int,
    chosen: int,
    url: str,
    session: requests.Session,
    allowed: Mapping[str, Any],
) -> Iterator[int]:
    statuses: list[int] = []

    @seed(chosen)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def send(case: Any) -> None:
        answer = case.call(base_url=url, session=session, timeout=60)
        check(answer.status_code, answer.headers, answer.content.decode("utf-8", "replace"), allowed)
        statuses.append(answer.status_code)

    send()
    return iter(statuses)


def check(status: int, headers: Mapping[str, str], text: str, allowed: Mapping[str, Any]) -> None:
    """Raise AssertionError for an answer that the service must not give."""
    assert str(status) in allowed or status in (404, 405, 400, 422), (status, text)
    assert not LEAKS.search(text), text
    if status >= 400:
        (line,) = json.loads(text).values()
        assert isinstance(line, str) and "\n" not in line and len(line) < 500, text


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    counted = answers(sys.argv[1], int(sys.argv[2]))
    for (route, status), count in sorted(counted.items()):
        print(f"{route}\t{status}\t{count}")
    print(f"{sum(counted.values())} requests, none with a forbidden answer")
