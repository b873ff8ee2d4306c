"""`/v1/voice/*`: the interface of LocalAI's voice recognition, for its clients.

Its `distance` is a cosine distance with a threshold for each model. Here it is 1 - P, for the calibrated probability P
of the same speaker at a prior of 0.5, so that a threshold means the same for every model: `confidence` is 100 P, and
the `threshold` is 1 - P at the model's threshold, or the client's.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field

from spkver.audio import Content
from spkver.serve.problems import Refused
from spkver.serve.service import Service
from spkver.serve.work import Places

_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.ASCII)


Audio = Annotated[str, Field(description="base64, or a data URI", json_schema_extra={"format": "byte"})]


class Ask(BaseModel):
    """A request. model: ignored, as the service has one; store: must be empty, as a tenant has one book."""

    model: str = Field("", max_length=1000)
    store: str = Field("", max_length=0)


class AskEmbed(Ask):
    """A recording."""

    audio: Audio


class AskVerify(Ask):
    """Two recordings. threshold: of the distance; 0: the model's."""

    audio1: Audio
    audio2: Audio
    threshold: float = Field(0, ge=0, le=1)
    anti_spoofing: bool = False


class AskRegister(AskEmbed):
    """labels: must be empty, as none are stored."""

    name: str = Field(min_length=1, max_length=200)
    labels: dict[str, str] = Field({}, max_length=0)


class AskIdentify(AskEmbed):
    """threshold: as for AskVerify."""

    top_k: int = Field(0, ge=0, le=100)
    threshold: float = Field(0, ge=0, le=1)


class AskForget(Ask):
    """id: as registered."""

    id: str = Field(min_length=1, max_length=200)


class Embedding(BaseModel):
    """An embedding of length 1."""

    embedding: list[float]
    dim: int
    model: str


class Verified(BaseModel):
    """distance: 1 - P; confidence: 100 P; verified: distance <= threshold."""

    verified: bool
    distance: float
    threshold: float
    confidence: float
    model: str
    processing_time_ms: float


class Registered(BaseModel):
    """A person of the book."""

    id: str
    name: str
    registered_at: str


class Match(BaseModel):
    """A person of the book; distance, confidence and match as for Verified."""

    id: str
    name: str
    distance: float
    confidence: float
    match: bool


class Matches(BaseModel):
    """The nearest people, nearest first."""

    matches: list[Match]


def add(app: FastAPI, service: Service, places: Places, problems: dict[int | str, Any]) -> None:
    """Add the routes."""
    form: dict[str, Any] = {"tags": ["LocalAI"], "responses": problems}

    @app.post("/v1/voice/embed", **form)
    async def embed(ask: AskEmbed) -> Embedding:
        """The embedding of a recording."""
        found = await places.run(service.embed, content(ask.audio))
        return Embedding(embedding=found.embedding, dim=found.dim, model=found.model)

    @app.post("/v1/voice/verify", **form)
    async def verify(ask: AskVerify) -> Verified:
        """Whether two recordings have the same speaker."""
        if ask.anti_spoofing:
            raise Refused(422, "anti_spoofing: the service does not detect spoofed recordings")
        started = time.perf_counter()
        found = await places.run(service.verify, [content(ask.audio1, "audio1")], content(ask.audio2, "audio2"))
        one = distance(service, found.score)
        most = threshold(service, ask.threshold)
        return Verified(
            verified=one <= most,
            distance=one,
            threshold=most,
            confidence=100 * (1 - one),
            model=found.model,
            processing_time_ms=1000 * (time.perf_counter() - started),
        )

    @app.post("/v1/voice/analyze", **form)
    async def analyze(ask: AskEmbed) -> Response:
        """Not offered."""
        raise Refused(501, "this service does not estimate age, gender or emotion")

    @app.post("/v1/voice/register", **form)
    async def register(request: Request, ask: AskRegister) -> Registered:
        """Add a recording of a person to the book."""
        found = await places.run(service.enrol, request.scope["state"]["tenant"], ask.name, [content(ask.audio)])
        return Registered(id=found.id, name=found.name, registered_at=datetime.now(timezone.utc).isoformat())

    @app.post("/v1/voice/identify", **form)
    async def identify(request: Request, ask: AskIdentify) -> Matches:
        """The nearest people of the book."""
        most = threshold(service, ask.threshold)
        tenant, top = request.scope["state"]["tenant"], ask.top_k or 5
        found = await places.run(service.identify, tenant, content(ask.audio), None, top)
        return Matches(
            matches=[
                Match(id=one.id, name=one.name, distance=far, confidence=100 * (1 - far), match=far <= most)
                for one in found.candidates
                for far in [distance(service, one.score)]
            ]
        )

    @app.post("/v1/voice/forget", status_code=204, **form)
    async def forget(request: Request, ask: AskForget) -> Response:
        """Remove a person from the book."""
        await places.run(service.forget, request.scope["state"]["tenant"], None, ask.id)
        return Response(status_code=204)


def content(text: str, name: str = "audio") -> Content:
    """The recording of a field: base64 or a data URI. Raises Refused (422), also for a URL."""
    if re.match(r"[a-z][a-z0-9+.-]*://", text[:40], re.IGNORECASE):
        raise Refused(422, f"{name}: this service does not download recordings; send base64")
    start = _DATA.match(text)
    try:
        return Content(name, base64.b64decode(text[start.end() if start else 0 :], validate=True))
    except (binascii.Error, ValueError):
        raise Refused(422, f"{name}: not base64") from None


def distance(service: Service, score: float) -> float:
    """1 - P. Raises Refused (422) without a calibration."""
    decision = service.verifier.decision
    if decision is None:
        raise Refused(422, "the model has no calibration: store one with spkver threshold")
    return 1 - decision.calibration.probability(score)


def threshold(service: Service, given: float) -> float:
    """The client's threshold of the distance, or the model's."""
    return given or distance(service, service.verifier.required_threshold())
