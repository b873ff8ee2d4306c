"""Recordings in requests. They stay in memory."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from spkver import audio
from spkver.audio import Content
from spkver.errors import InputError
from spkver.serve.config import Limits
from spkver.serve.problems import Refused

PCM = "audio/l16"
FORM = "multipart/form-data"


@dataclass
class Sent:
    """What a request has: recordings by field, in order, and texts by field."""

    files: dict[str, list[Content]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def several(self, name: str) -> list[Content]:
        """The recordings of a field. Raises Refused (422) if there is none."""
        if name not in self.files:
            raise Refused(422, f"the recording '{name}' is missing: send it as a file of the form")
        return self.files[name]

    def one(self, name: str) -> Content:
        """The recording of a field. Raises Refused (422) if there is not exactly one."""
        if len(found := self.several(name)) > 1:
            raise Refused(422, f"give one recording as '{name}', not {len(found)}")
        return found[0]


async def sent(request: Request, limits: Limits) -> Sent:
    """The recordings of a request: a form, or a single recording as the body, whose field is then `audio`."""
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == FORM:
        return await _form(request, limits)
    if kind == PCM:
        return Sent({"audio": [pcm(await request.body(), _parameters(rest))]})
    if kind.startswith("audio/") or kind == "application/octet-stream":
        return Sent({"audio": [Content("audio", await request.body())]})
    raise Refused(415, f"send {FORM}, or one recording as audio/* (raw samples: audio/L16; rate=16000)")


async def _form(request: Request, limits: Limits) -> Sent:
    parser = MultiPartParser(request.headers, request.stream(), max_files=limits.recordings + 1, max_fields=8)
    parser.spool_max_size = round(limits.body_mb * 2**20) + 1  # never a temporary file on disk
    found = Sent()
    try:
        form = await parser.parse()
    except MultiPartException as error:
        most = f"at most {limits.recordings + 1} files and 8 texts"
        raise Refused(400, f"the form cannot be read: it must be complete, with {most}") from error
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                own = found.files.setdefault(name, [])
                own.append(Content(f"{name[:20]} {len(own) + 1}", await value.read()))
            else:
                found.texts[name] = value
    finally:
        await form.close()
    return found


def pcm(samples: bytes, parameters: Mapping[str, str]) -> Content:
    """Raw 16-bit samples of one channel. parameters: `rate` in Hz; `endianness`.

    Without `endianness`, samples are little-endian, as most clients send them, although RFC 2586 says big-endian.
    """
    try:
        rate = int(parameters.get("rate", ""))
    except ValueError:
        raise Refused(422, "audio/L16 needs the sample rate: audio/L16; rate=16000") from None
    if parameters.get("channels", "1") != "1":
        raise Refused(422, "audio/L16 is read as one channel: mix the channels, or send a WAV file")
    order = parameters.get("endianness", "little-endian")
    if order not in ("little-endian", "big-endian"):
        raise Refused(422, "endianness is little-endian or big-endian")
    if len(samples) % 2:
        raise InputError("audio: an odd number of bytes; audio/L16 has two for each sample")
    return wav(np.frombuffer(samples, "<i2" if order == "little-endian" else ">i2"), rate)


def wav(samples: np.ndarray, rate: int) -> Content:
    """Samples of one channel, int16, as the content of a WAV file. Raises InputError for an invalid rate."""
    rate = audio.whole_rate(rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(samples.astype("<i2").tobytes())
    return Content("audio", file.getvalue())


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs if key.strip()}


def body(files: Mapping[str, str], texts: Mapping[str, str] | None = None, alone: bool = False) -> dict[str, Any]:
    """The request body, for OpenAPI.

    files: what the recordings are, by field, with a `*` behind fields of several; texts: the same for texts
    alone: one recording may also be the whole body
    """
    binary = {"type": "string", "format": "binary"}
    fields: dict[str, Any] = {
        name.rstrip("*"): {"type": "array", "items": binary} | {"description": text} if name.endswith("*") else binary
        for name, text in files.items()
    }
    fields |= {name: {"type": "string", "description": text} for name, text in (texts or {}).items()}
    content: dict[str, Any] = {FORM: {"schema": {"type": "object", "properties": fields}}}
    if alone:
        content |= {kind: {"schema": binary} for kind in ("application/octet-stream", "audio/wav", "audio/L16")}
    return {"requestBody": {"required": True, "content": content}}
