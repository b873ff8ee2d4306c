"""Pages of the service: voices, and the interface from its OpenAPI description. They need no other server."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from spkver.page import Html, document, paragraph, section
from spkver.page.voices import drawn_scale, voices_page
from spkver.serve.service import Service

_NOTE = (
    "This page sends what you record to the service that serves it. The service keeps no recording. Of enrolled "
    "people it keeps embeddings, until you forget the person."
)
_ACCESS = (
    '<label class="note" id="access">Token <input type="password" id="token" autocomplete="off" spellcheck="false">'
    "</label>"
)


def voices(service: Service, *, tokens: bool) -> str:
    """The page that records, identifies and enrols people by this service. tokens: whether it needs a token."""
    decision = service.verifier.decision
    limits = [-1, 1] if decision is None else drawn_scale(decision.threshold, decision.calibration.scale)
    return voices_page(
        "Voices",
        Html(f"{escape(_NOTE)}</p>\n<p>{_ACCESS}") if tokens else _NOTE,
        "voices_there.js",
        {"connect-src": "'self'"},
        {"service": {"rate": service.verifier.sample_rate, "limits": limits}},
    )


def interface(schema: Mapping[str, Any]) -> str:
    """A page of all routes: what they take and answer."""
    return document(
        f"{schema['info']['title']} {schema['info']['version']}",
        Html(
            f"<p>{escape(schema['info'].get('summary', ''))}. "
            'For programs: <a href="/openapi.json">openapi.json</a>. To try it: <a href="/">voices</a>.</p>'
        ),
        *(
            section(f"{method.upper()} {path}", paragraph(about.get("description", "")), _route(schema, about))
            for path, methods in schema["paths"].items()
            for method, about in methods.items()
        ),
    )


def _route(schema: Mapping[str, Any], about: Mapping[str, Any]) -> Html:
    lines = [
        f"<code>?{escape(one['name'])}=</code> {escape(one.get('description', ''))}"
        for one in about.get("parameters", [])
    ]
    for kind, form in about.get("requestBody", {}).get("content", {}).items():
        fields = _fields(schema, form["schema"])
        lines.append(f"body <code>{escape(kind)}</code>{': ' + fields if fields else ''}")
    for status, answer in about["responses"].items():
        content: Mapping[str, Any] = answer.get("content", {})
        form = next((one.get("schema", {}) for one in content.values()), {})
        lines.append(f"{escape(status)} {escape(answer['description'])} {_fields(schema, form)}")
    return Html(f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>")


def _fields(schema: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    if "$ref" in form:
        form = schema["components"]["schemas"][form["$ref"].rpartition("/")[2]]
    return ", ".join(f"<code>{escape(name)}</code>" for name in form.get("properties", {}))
