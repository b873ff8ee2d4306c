"""Errors of the service: a status and one line for the client."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """A request that is not served. retry: seconds after which to try again."""

    def __init__(self, status: int, message: str, retry: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry = status, message, retry

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        found = {}
        if self.retry is not None:
            found["retry-after"] = str(max(1, round(self.retry)))
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        return found
