"""Checks of every request before it reaches a route: token, size and rate; and the access log.

The log has the method, the route (not the path), the status and the time. It never has a name, token, score or address.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spkver.serve import metrics
from spkver.serve.config import LOOPBACK, Limits
from spkver.serve.problems import Refused
from spkver.serve.tokens import Tokens
from spkver.serve.work import Rates

LOG = logging.getLogger("spkver.serve")
OPEN = ("/health", "/openapi.json", "/docs")  # no token, no rate
_AT_ONCE = 16  # bodies of full size that a process holds
_DISCARD = 8  # times the limit: this much of a body that is too large is read, so that the client sees the answer

SAFE = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Access:
    """Who has access: tenants by token, or without tokens anybody on this machine (tenant "")."""

    tokens: Tokens | None
    rates: Rates

    def tenant(self, token: str) -> str:
        """The tenant of a token, whose request is counted. Raises Refused (401, 429)."""
        found = "" if self.tokens is None else self.tokens.tenant(token)
        if found is None:
            raise Refused(401, "no valid token: send the header `Authorization: Bearer TOKEN`")
        self.rates.take(found)
        return found

    def check_browser(self, headers: Headers) -> None:
        """Without tokens, refuse the pages of other sites, which may reach this machine through its browser.

        A page of another site sends its Origin. A site whose name now resolves to this machine sends its own Host.
        """
        if self.tokens is not None:  # a page of another site has no token
            return
        host = headers.get("host", "")
        if _name(f"//{host}") not in LOOPBACK:
            raise Refused(403, "the Host header is not a name of this machine; to serve others, start with --tokens")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, "requests from pages of other sites are refused")


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Guard:
    """The outermost part of the application (ASGI)."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits) -> None:
        self._app, self._access, self._limits = app, access, limits
        self._most = round(limits.body_mb * 2**20)
        self._held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started, method = time.perf_counter(), scope.get("method", "WEBSOCKET")
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("http.response.start"):  # also of a refused WebSocket
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *SAFE.items()]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        body = bytearray()
        try:
            self._admit(scope)
            if scope["type"] == "http":
                await asyncio.wait_for(self._read(scope, receive, body), self._limits.patience)
                receive = _replayed(bytes(body), receive)
            await self._app(scope, receive, answered)
        except Refused as refused:
            status = refused.status
            await _refuse(scope, answered, refused)
        except (asyncio.TimeoutError, TimeoutError):
            status = 408
            await _refuse(scope, answered, Refused(408, f"the request took longer than {self._limits.patience:g} s"))
        except _GoneError:
            status = 499
        except asyncio.CancelledError:  # the service stops, and this took longer than `drain`
            if not status:
                await _refuse(scope, answered, Refused(503, "the service stops", retry=10))
            status = 503
        except Exception as error:  # its message may have a name
            log_error(error)
            if not status:
                await _refuse(scope, answered, Refused(500, "internal error"))
            status = 500
        finally:
            self._held -= len(body)
            route = getattr(scope.get("route"), "path", "-")
            took = time.perf_counter() - started
            metrics.REQUESTS.labels(method if method in _METHODS else "-", route, status).inc()
            metrics.SECONDS.labels(route).observe(took)
            LOG.info("%s %s %d %.0f ms", method if method in _METHODS else "-", route, status, 1000 * took)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._access.check_browser(headers)
        state = scope.setdefault("state", {})
        state["tenant"] = None
        kind, _, token = headers.get("authorization", "").partition(" ")
        if scope["type"] == "websocket" and not kind and self._access.tokens is not None:
            return  # a browser cannot send the header: its first message has the token
        if scope["path"].startswith("/v1/") or scope["path"] == "/metrics":
            state["tenant"] = self._access.tenant(token.strip() if kind.lower() == "bearer" else "")

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        """Read the whole body before the work on it begins, so that a slow client does not block others."""
        stated = Headers(scope=scope).get("content-length", "0")
        size, over = 0, stated.isdigit() and int(stated) > self._most
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part = message.get("body", b"")
            size += len(part)
            over = over or size > self._most
            if not over:
                if self._held + len(part) > _AT_ONCE * self._most:
                    raise Refused(503, "the server is busy: try again", retry=1)
                self._held += len(part)
                body += part
            if not message.get("more_body") or size > _DISCARD * self._most:
                break
        if over:
            raise Refused(413, f"the request is larger than {self._limits.body_mb:g} MB")


_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "WEBSOCKET")


class _GoneError(Exception):
    """The client went away before the request was complete."""


def _replayed(content: bytes, receive: Receive) -> Receive:
    """Replays a body that was read already."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http"
    content = json.dumps({"error": refused.message}).encode()
    headers: dict[str, Any] = {"content-type": "application/json", "content-length": str(len(content))}
    raw = [(key.encode(), value.encode()) for key, value in (headers | refused.headers()).items()]
    await send({"type": f"{kind}.response.start", "status": refused.status, "headers": raw})
    await send({"type": f"{kind}.response.body", "body": content})


def log_error(error: BaseException) -> None:
    """Log where an error arose, without its message."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    LOG.error("internal error: %s at %s", type(error).__name__, "".join(f"{at.filename}:{at.lineno}" for at in last))
