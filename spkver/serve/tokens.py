"""Bearer tokens: a file of mode 0600 with lines `TENANT SHA256-OF-THE-TOKEN`. The tokens themselves are not stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass

from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, local
from spkver.text import read_text

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Tokens:
    """Tenants and the SHA-256 of their tokens, in hexadecimal digits."""

    tenants: tuple[tuple[str, str], ...]

    def tenant(self, token: str) -> str | None:
        """The tenant of a token, or None. The time it takes does not depend on the token."""
        digest, found = _digest(token), None
        for name, known in self.tenants:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def names(self) -> list[str]:
        """The tenants, each once."""
        return list(dict.fromkeys(name for name, _ in self.tenants))


def read_tokens(path: StrPath) -> Tokens:
    """Read a file of tokens. Raises InputError naming the line, and if other users can read the file."""
    place = local(path)
    if not place.is_file():
        raise InputError(f"{path}: no such file; make a token with `spkver serve --tokens {path} --new-token TENANT`")
    if os.name == "posix" and place.stat().st_mode & 0o077:
        raise InputError(f"{path}: other users can access the tokens: run chmod 600 {path}")
    found = []
    for number, line in enumerate(read_text(place).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, digest = line.strip().partition(" ")
        if not _TENANT.fullmatch(name) or not _DIGEST.fullmatch(digest.strip()):
            raise InputError(f"{path}:{number}: expected `TENANT SHA256`; make tokens with spkver serve --new-token")
        found.append((name, digest.strip()))
    if not found:
        raise InputError(f"{path}: no token; make one with `spkver serve --tokens {path} --new-token TENANT`")
    return Tokens(tuple(found))


def new_token(path: StrPath, tenant: str) -> str:
    """Make a token, add its hash to the file, which is created if missing, and return the token."""
    if not _TENANT.fullmatch(tenant):
        raise InputError(f"{tenant!r}: a tenant has 1 to 64 letters, digits, dots, dashes or underscores")
    place, token = local(path), secrets.token_urlsafe(32)
    before = read_tokens(place).tenants if place.exists() else ()
    with atomic_file(place, mode=0o600) as part:
        part.write_text("".join(f"{name} {digest}\n" for name, digest in [*before, (tenant, _digest(token))]))
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
