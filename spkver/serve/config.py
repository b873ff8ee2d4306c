"""The config of the service. Needs no web framework."""

from __future__ import annotations

from pydantic import Field

from spkver.config import Config


class Limits(Config):
    """Limits for clients. Beyond them, the answer is an error of one line."""

    body_mb: float = Field(16, gt=0, le=1024)
    """Size of a request (413)"""
    seconds: float = Field(60, gt=0, le=3600)
    """Length of a recording or a stream (422)"""
    diarize_seconds: float = Field(900, gt=0, le=36000)
    """Length of a recording for /v1/diarize (422)"""
    recordings: int = Field(20, ge=1)
    """Recordings of a request, and of a person in the book (422, 507)"""
    people: int = Field(1000, ge=1)
    """People of a book (507)"""
    requests_per_minute: float = Field(6000, gt=0)
    """Of a tenant; as many may come at once after a pause (429)"""
    running: int = Field(4, ge=1)
    """Requests that a process works on at once; the others wait"""
    waiting: int = Field(64, ge=0)
    """Requests that wait in a process (503)"""
    streams: int = Field(16, ge=0)
    """Open streams of a process (503)"""
    connections: int = Field(256, ge=1)
    """Open connections of a process (503)"""
    patience: float = Field(20, gt=0)
    """Seconds in which a request must arrive whole, and a stream must say something (408)"""
    drain: int = Field(30, ge=0)
    """Seconds that running requests have after SIGTERM"""


class ServeConfig(Config):
    """The config of `spkver serve`."""

    device: str = "cpu"
    """cpu, cuda or auto; for an .onnx file also another execution provider of onnxruntime (openvino, coreml, ...)"""
    tls_certificate: str | None = None
    """PEM file; without it tokens and voices travel in plain text, unless a proxy adds TLS"""
    tls_key: str | None = None
    """PEM file of the key of `tls_certificate`"""
    limits: Limits = Limits()


LOOPBACK = ("localhost", "127.0.0.1", "::1")
