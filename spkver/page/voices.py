"""The page of voices: record, identify, enrol. It works with the service, or alone in one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spkver.page.document import Html, application, asset, html

_BODY = """<div class="voices">
<div>
<div class="record">
<button type="button" id="record" aria-pressed="false">Hold and speak</button>
<div>
<p id="state" role="status" aria-live="polite">&nbsp;</p>
<p class="note">Speak for some five seconds.</p>
<label class="note file">Or choose a recording
<input type="file" id="file" accept="audio/*,video/*"></label>
</div>
</div>
<div class="answer" id="answer" aria-live="polite"><h3>Who speaks?</h3>
<p>Hold the button and speak, then release it.</p></div>
<form class="keep" id="keep" hidden>
<label class="tick"><input type="checkbox" required> This person agrees to be enrolled, to be recognised here.</label>
<label>Name <input type="text" id="name" required maxlength="100" autocomplete="off"></label>
<button type="submit">Enrol this voice</button>
</form>
</div>
<section aria-labelledby="enrolled">
<h2 id="enrolled">People</h2>
<p class="note" id="nobody">Nobody is enrolled.</p>
<ul class="people" id="people"></ul>
</section>
</div>
"""


NATS = 8.0  # that the drawn scale of scores reaches on either side of the threshold


def drawn_scale(threshold: float, scale: float) -> list[float]:
    """The lowest and the highest score that is drawn. scale: of the calibration, in nats per score."""
    return [threshold - NATS / scale, threshold + NATS / scale]


def voices_page(
    title: str,
    note: str,
    engine: str,
    allow: Mapping[str, str],
    data: Mapping[str, Any] | None = None,
    binary: Mapping[str, bytes] | None = None,
) -> str:
    """The page.

    note: where the voice goes, for the reader; engine: file of this folder with the engine (see voices.js)
    allow, data, binary: as for `document.application`
    """
    return application(
        title,
        Html(f"<p>{html(note)}</p>\n{_BODY}"),
        style=asset("voices.css"),
        script=asset(engine) + asset("voices.js"),
        allow={"worker-src": "data:", **allow, "script-src": f"data: {allow.get('script-src', '')}".strip()},
        data=data,
        binary=binary,
    )
