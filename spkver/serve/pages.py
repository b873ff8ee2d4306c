"""The pages of the service. They load nothing from other servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from spkver.page.voices import voices_page

if TYPE_CHECKING:
    from spkver.serve.service import Service

_NOTE = "The server listens to what you record here. It keeps embeddings of the people you enrol, and no recording."


def voices(service: Service) -> str:
    """The page on which one speaks and is recognised."""
    decision = service.verifier.decision
    width = 1.0 if decision is None else max(8 / decision.calibration.scale, 1e-3)  # on either side: 8 nats
    middle = 0.0 if decision is None else decision.threshold
    facts = {"rate": service.verifier.sample_rate, "limits": [middle - width, middle + width]}
    return voices_page("Voices", _NOTE, "voices_there.js", {"connect-src": "'self'"}, {"service": facts})


def interface(schema: Mapping[str, Any]) -> str:
    """A page of all routes, without scripts: what they take and answer. schema: its OpenAPI description."""
    parts = "\n".join(
        part
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
        for part in _route(schema, method.upper(), path, about)
    )
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><body>'
        f"<h1>{title}</h1><p>{escape(schema['info'].get('summary', ''))}. "
        'For programs: <a href="/openapi.json">openapi.json</a>.</p>\n'
        f"{parts}</body></html>"
    )


def _route(schema: Mapping[str, Any], method: str, path: str, about: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2><p>{escape(about.get('description', ''))}</p><ul>"
    for one in about.get("parameters", []):
        yield f"<li><code>?{escape(one['name'])}=</code> {escape(one.get('description', ''))}</li>"
    for kind, form in about.get("requestBody", {}).get("content", {}).items():
        fields = ", ".join(f"<code>{escape(name)}</code>" for name in _fields(schema, form["schema"]))
        yield f"<li>body <code>{escape(kind)}</code>{': ' + fields if fields else ''}</li>"
    for status, answer in about["responses"].items():
        content: Mapping[str, Any] = answer.get("content", {})
        form = next((one.get("schema", {}) for one in content.values()), {})
        fields = ", ".join(f"<code>{escape(name)}</code>" for name in _fields(schema, form))
        yield f"<li>{escape(status)} {escape(answer['description'])} {fields}</li>"
    yield "</ul>"


def _fields(schema: Mapping[str, Any], form: Mapping[str, Any]) -> list[str]:
    if "$ref" in form:
        form = schema["components"]["schemas"][form["$ref"].rpartition("/")[2]]
    return list(form.get("properties", {}))
