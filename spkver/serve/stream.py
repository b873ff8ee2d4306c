"""`/v1/stream`: a decision while someone speaks (WebSocket).

The client sends a JSON object (`Start`), then messages of raw samples (16-bit little-endian, one channel), then the
text `end`. After every half second or more of new audio the server answers with the evidence of all speech so far
(`Evidence`). The last answer has a `decision`, and the server closes.

The log-likelihood ratio of the speech so far is compared with the bounds of Wald's sequential test: accept at
log((1 - b) / a), reject at log(b / (1 - a)), for the target rates a of false accepts and b of false rejects. For a true
likelihood ratio, the probability that it ever reaches 1/a for a stranger is at most a, however often it is computed
(Ville's inequality). So the rates hold as far as the calibration does, for recordings of that length. Without a claimed
person, a is divided by the number of people.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from spkver.errors import InputError
from spkver.serve import metrics
from spkver.serve.config import Limits
from spkver.serve.guard import Access
from spkver.serve.problems import Refused
from spkver.serve.service import Service, person_id
from spkver.serve.work import Places

STEP = 0.5  # seconds of new audio between two answers, and a fifth of what was heard, which bounds the work
STEP_SHARE = 0.2
MESSAGE = 1 << 16  # bytes
Outcome = Literal["accept", "reject", "undecided"]


class Start(BaseModel):
    """The first message. person: name or id of the claimed person; None: anybody of the book."""

    model_config = ConfigDict(extra="forbid")

    person: str | None = Field(None, max_length=200)
    rate: int = Field(16000, ge=2000, le=192000, description="samples per second")
    false_accept: float = Field(0.01, gt=0, lt=0.5)
    false_reject: float = Field(0.05, gt=0, lt=0.5)
    token: str = Field("", max_length=200, description="for clients that cannot send the header Authorization")


class Evidence(BaseModel):
    """The result for the speech so far.

    heard, speech: seconds of audio, and of speech in it; person: the claimed one, or the nearest
    same: at the end: whether the score reaches the model's threshold, as /v1/verify says
    """

    heard: float
    speech: float
    name: str
    id: str
    score: float
    log_likelihood_ratio: float
    decision: Outcome | None = None
    same: bool | None = None
    doubts: list[str] = []


class Bounds(NamedTuple):
    """Accept at a log-likelihood ratio of `accept` or more, reject at `reject` or less."""

    accept: float
    reject: float

    @classmethod
    def of(cls, false_accept: float, false_reject: float, people: int = 1) -> Bounds:
        """Wald's bounds, for the largest of the ratios of some `people`."""
        alpha = false_accept / people
        return cls(math.log((1 - false_reject) / alpha), math.log(false_reject / (1 - alpha)))

    def decide(self, ratio: float) -> Outcome | None:
        """The early decision, if there is one."""
        return "accept" if ratio >= self.accept else "reject" if ratio <= self.reject else None


@dataclass
class Listener:
    """The audio of a stream and the evidence in it."""

    service: Service
    tenant: str
    start: Start
    name: str | None
    bounds: Bounds

    def __post_init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self.samples = 0
        self._next = STEP

    @classmethod
    def open(cls, service: Service, tenant: str, start: Start) -> Listener:
        """Raises Refused if nobody can be recognised, or the rates cannot be reached."""
        decision = service.verifier.decision
        if decision is None:
            raise Refused(422, "the model has no calibration: store one with spkver threshold")
        people = len(service.speakers(tenant).speakers)
        if not people:
            raise Refused(404, "the book is empty: enrol somebody first")
        name = None if start.person is None else service.name_of(tenant, start.person)
        bounds = Bounds.of(start.false_accept, start.false_reject, people if name is None else 1)
        low, high = decision.calibration.least, decision.calibration.most
        if bounds.accept > high or bounds.reject < low:
            raise Refused(
                422,
                f"the model's calibration reaches log-likelihood ratios from {low:.1f} to {high:.1f}, the target "
                f"rates need {bounds.reject:.1f} and {bounds.accept:.1f}: choose higher rates",
            )
        return cls(service, tenant, start, name, bounds)

    @property
    def heard(self) -> float:
        """Seconds of audio."""
        return self.samples / self.start.rate

    def add(self, samples: bytes) -> bool:
        """Take samples. Returns whether there are enough new ones for an answer."""
        self._parts.append(np.frombuffer(samples, "<i2"))
        self.samples += len(self._parts[-1])
        if self.heard < self._next:
            return False
        self._next = self.heard + max(STEP, STEP_SHARE * self.heard)
        return True

    def evidence(self, last: bool = False) -> Evidence | None:
        """The evidence of all audio so far; None if it cannot be used yet. Raises InputError if it is the last."""
        waveform = np.concatenate(self._parts) if self._parts else np.empty(0, np.int16)
        try:
            heard = self.service.listen(waveform, self.start.rate)
        except InputError:
            if last:
                raise
            return None
        match, decision = self.service.nearest(self.tenant, heard, self.name), self.service.verifier.decision
        assert decision is not None  # see `open`
        ratio = decision.calibration.ratio(match.score)
        return Evidence(
            heard=self.heard,
            speech=heard.seconds,
            name=match.name,
            id=person_id(match.name),
            score=match.score,
            log_likelihood_ratio=ratio,
            decision=self.bounds.decide(ratio) or ("undecided" if last else None),
            same=match.score >= decision.threshold if last else None,
            doubts=heard.doubts if last else [],
        )


def add(app: FastAPI, service: Service, access: Access, places: Places, limits: Limits) -> None:
    """Add the route."""
    open_streams = 0

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        nonlocal open_streams
        if open_streams >= limits.streams:
            raise Refused(503, "too many streams: try again", retry=10)
        open_streams += 1
        metrics.STREAMS.inc()
        try:
            await socket.accept()
            await _answered(socket, service, access, places, limits)
        finally:
            open_streams -= 1
            metrics.STREAMS.dec()


async def _answered(socket: WebSocket, service: Service, access: Access, places: Places, limits: Limits) -> None:
    """Run a stream; a problem is the last message, `{"error": ...}`."""
    try:
        await _run(socket, service, access, places, limits)
        code, problem = 1000, None
    except WebSocketDisconnect:
        return
    except (asyncio.TimeoutError, TimeoutError):
        code, problem = 1008, f"no message for {limits.patience:g} s"
    except ValidationError as error:
        first = error.errors()[0]
        code, problem = 1008, ": ".join(["the first message", *map(str, first["loc"]), first["msg"]])
    except (Refused, InputError) as error:
        code, problem = 1008, str(error)
    if problem is not None:
        await socket.send_json({"error": problem})
    await socket.close(code)


async def _run(socket: WebSocket, service: Service, access: Access, places: Places, limits: Limits) -> None:
    start = Start.model_validate_json(_text(await _message(socket, limits)))
    tenant = socket.scope["state"]["tenant"]
    if tenant is None:
        tenant = access.tenant(start.token)
    listener = await places.run(Listener.open, service, tenant, start)
    await socket.send_json({"accept": listener.bounds.accept, "reject": listener.bounds.reject})
    while True:
        message = await _message(socket, limits)
        if isinstance(message, str):
            if message != "end":
                raise Refused(422, "after the first message, send samples, or the text `end`")
            break
        if len(message) % 2:
            raise Refused(422, "a message with an odd number of bytes; a sample has two")
        enough = listener.add(message)
        if listener.heard > limits.seconds:
            break
        if enough and (found := await _evidence(places, listener)) is not None:
            if found.decision is not None:
                break
            await socket.send_json(found.model_dump())
    await socket.send_json((await places.run(listener.evidence, True)).model_dump())  # type: ignore[union-attr]


async def _evidence(places: Places, listener: Listener) -> Evidence | None:
    try:
        return await places.run(listener.evidence)
    except Refused as refused:
        if refused.status == 503:  # busy: the next one will do
            return None
        raise


async def _message(socket: WebSocket, limits: Limits) -> str | bytes:
    message = await asyncio.wait_for(socket.receive(), limits.patience)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    found: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
    if len(found) > MESSAGE:
        raise Refused(413, f"a message has more than {MESSAGE} bytes")
    return found


def _text(message: str | bytes) -> str:
    if isinstance(message, bytes):
        raise Refused(422, "the first message is a JSON object: person, rate, false_accept, false_reject, token")
    return message
