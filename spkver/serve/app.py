"""The application: routes of the service, and handlers that turn errors into answers."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from spkver import __version__
from spkver.errors import InputError, SpkverError
from spkver.ffmpeg import DecoderMissingError
from spkver.serve import answers, localai, metrics, pages, stream
from spkver.serve.config import ServeConfig
from spkver.serve.guard import Access, Guard, log_error
from spkver.serve.problems import Refused
from spkver.serve.service import Service
from spkver.serve.uploads import body, sent
from spkver.serve.work import Places

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Problem, "description": text}
    for status, text in {
        400: "The form or JSON cannot be read.",
        401: "No valid token.",
        403: "From a page of another site.",
        404: "No such person.",
        408: "The request did not arrive in time.",
        409: "The book was made with another model.",
        413: "The request is too large.",
        415: "Not a form, a recording or JSON, or a wrong Content-Type.",
        422: "A recording or a value cannot be used.",
        429: "Too many requests.",
        503: "The server is busy or stopping, or its book cannot be read.",
        501: "Not supported.",
        507: "The book is full.",
    }.items()
}

Threshold = Annotated[float | None, Query(description="replaces the model's", allow_inf_nan=False)]
Prior = Annotated[float, Query(gt=0, lt=1, description="prior probability of the same speaker")]
Channel = Annotated[int | None, Query(ge=0, le=255, description="channel of files of several channels, from 0")]
RECORDING = "a recording in any format that spkver reads"


def build(service: Service, access: Access, config: ServeConfig) -> ASGIApp:
    """The application of one process."""
    limits, places, alone = config.limits, Places(config.limits), body({"audio": RECORDING}, alone=True)
    app = FastAPI(
        title="spkver",
        version=__version__,
        summary="Speaker verification: embeddings, decisions and a speaker book",
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
    )
    _answer_errors(app, service)

    @app.get("/health", tags=["service"])
    async def health() -> answers.Health:
        """Whether the process answers. Needs no token."""
        return answers.Health()

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse, responses=_only(401, 403, 429))
    async def prometheus() -> PlainTextResponse:
        """Metrics for Prometheus."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        """Record, identify and enrol in a browser."""
        return HTMLResponse(pages.voices(service, tokens=access.tokens is not None))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """This interface as a page."""
        return HTMLResponse(pages.interface(app.openapi()))

    @app.post("/v1/embed", tags=["voices"], responses=_without(404, 409, 507), openapi_extra=alone)
    async def embed(request: Request, channel: Channel = None) -> answers.Embedded:
        """The embedding of a recording."""
        recording = (await sent(request, limits)).one("audio")
        return await places.run(service.embed, recording, channel)

    @app.post(
        "/v1/verify",
        tags=["voices"],
        responses=_without(507),
        openapi_extra=body(
            {"test": RECORDING, "enrolment*": "recordings of one speaker"},
            {"person": "name or id of a person of the book, in place of `enrolment`"},
        ),
    )
    async def verify(
        request: Request, threshold: Threshold = None, prior: Prior = 0.5, channel: Channel = None
    ) -> answers.Compared:
        """Whether a test recording has the speaker of an enrolment: recordings, or a person of the book."""
        given = await sent(request, limits)
        test, person = given.one("test"), given.texts.get("person")
        if person is None:
            return await places.run(service.verify, given.several("enrolment"), test, threshold, prior, channel)
        if "enrolment" in given.files:
            raise Refused(422, "give `enrolment` or `person`, not both")
        return await places.run(service.verify_person, _tenant(request), person, test, threshold, prior, channel)

    @app.post("/v1/identify", tags=["people"], responses=_without(404, 507), openapi_extra=alone)
    async def identify(
        request: Request,
        threshold: Threshold = None,
        top: Annotated[int, Query(ge=1, le=100, description="number of candidates")] = 1,
        channel: Channel = None,
    ) -> answers.Identified:
        """The person of the book who speaks in a recording, if any."""
        recording = (await sent(request, limits)).one("audio")
        return await places.run(service.identify, _tenant(request), recording, threshold, top, channel)

    @app.post(
        "/v1/enrol",
        tags=["people"],
        responses=_without(404),
        openapi_extra=body(
            {"audio*": "recordings of the person"},
            {
                "name": "of the person",
                "purpose": "what the person agreed to",
                "until": "the last day that the person may be kept, YYYY-MM-DD",
            },
        ),
    )
    async def enrol(request: Request, channel: Channel = None) -> answers.Enrolled:
        """Add recordings of a person to the book, which keeps embeddings, not recordings. Ask the person first."""
        given = await sent(request, limits)
        name, recordings = given.texts.get("name", ""), given.several("audio")
        if not 1 <= len(name) <= 200:
            raise Refused(422, "give the person's `name`, with 1 to 200 characters")
        purpose, until = given.texts.get("purpose", ""), _day(given.texts.get("until"))
        return await places.run(service.enrol, _tenant(request), name, recordings, channel, purpose, until)

    @app.get("/v1/speakers", tags=["people"], responses=_only(401, 403, 409, 429, 503))
    async def speakers(request: Request) -> answers.Speakers:
        """The people of the book."""
        return await places.run(service.speakers, _tenant(request))

    @app.post("/v1/forget", tags=["people"], responses=_without(507))
    async def forget(request: Request, whom: Annotated[answers.Forget, Body()]) -> answers.Forgotten:
        """Remove a person from the book."""
        if (whom.name is None) == (whom.id is None):
            raise Refused(422, "give the person's `name` or `id`")
        return await places.run(service.forget, _tenant(request), whom.name, whom.id)

    @app.post("/v1/diarize", tags=["voices"], responses=_without(404, 507), openapi_extra=alone)
    async def diarize(
        request: Request,
        speakers: Annotated[int | None, Query(ge=1, le=50, description="number of speakers, if known")] = None,
        named: Annotated[bool, Query(description="name the speakers by the book")] = False,
    ) -> answers.Diarized:
        """Who speaks when in a recording. One process diarizes one recording at a time."""
        recording = (await sent(request, limits)).one("audio")
        return await places.run_alone(service.diarize, _tenant(request), recording, speakers, named)

    stream.add(app, service, access, places, limits)
    localai.add(app, service, places, PROBLEMS)
    return Guard(app, access, limits)


def _tenant(request: Request) -> str:
    return str(request.scope["state"]["tenant"])


def _day(text: str | None) -> date | None:
    try:
        if not text:
            return None
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(422, "until: give a day as YYYY-MM-DD") from None


def _only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: PROBLEMS[status] for status in statuses}


def _without(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route that is not LocalAI's, except these."""
    return {status: about for status, about in PROBLEMS.items() if status not in (501, *statuses)}


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Every error is an answer `{"error": "one line"}`, without a path of this machine."""

    def answer(refused: Refused) -> JSONResponse:
        return JSONResponse({"error": " ".join(refused.message.split())}, refused.status, refused.headers())

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return answer(error)

    @app.exception_handler(SpkverError)
    async def unusable(request: Request, error: SpkverError) -> JSONResponse:
        if isinstance(error, InputError):
            return answer(Refused(422, _told(error, request.url.path, service)))
        log_error(error)
        return answer(Refused(500, "internal error"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return answer(Refused(500, "internal error"))  # the guard logs it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # without the value, which may be personal
        if first["loc"] == ("body",) and "json" not in request.headers.get("content-type", ""):
            return answer(Refused(415, "send a JSON object with Content-Type: application/json"))
        where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        said = "not supported; leave it out" if first.get("ctx", {}).get("max_length") == 0 else first["msg"]
        return answer(Refused(400 if first["type"] == "json_invalid" else 422, f"{where}: {said}"))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        known = {404: "no such path; /docs lists them", 405: "wrong method; /docs lists the routes"}
        found = answer(Refused(error.status_code, known.get(error.status_code, str(error.detail))))
        found.headers.update(error.headers or {})
        return found


def _told(error: InputError, route: str, service: Service) -> str:
    """What a client, instead of a user of the command line, can do about an error."""
    if isinstance(error, DecoderMissingError):
        return "the service cannot read this format; its operator installs the extra m4a"
    message = hidden(str(error), service)
    if route.startswith("/v1/voice/"):
        return re.sub(r"choose one .*\(--channel\)", "send one", message)
    return re.sub(r"--(channel|threshold)\b", r"?\1=", message)


def hidden(message: str, service: Service) -> str:
    """A message without the paths of this machine."""
    places = {"the book": service.root}
    if service.verifier.place is not None:
        places["the model"] = Path(service.verifier.place[0]).absolute()
    for name, path in places.items():
        message = re.sub(rf"(?<![\w.-]){re.escape(str(path))}[/\\\w.-]*", name, message)
    return message
