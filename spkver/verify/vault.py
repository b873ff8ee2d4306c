"""Encryption of a speaker book: AES-256-GCM of the whole file (package cryptography, extra `vault`).

The file begins with a mark, a fingerprint of the key and a random nonce. All of them are authenticated, so a changed or
truncated file does not open. The key is 64 hexadecimal digits in a file of mode 0600; the environment variable
SPKVER_BOOK_KEY names that file.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from spkver.errors import InputError, load_optional
from spkver.files import StrPath, require_private, write_private

KEY_FILE = "SPKVER_BOOK_KEY"
MARK = b"spkver vault 1\n"
_FINGERPRINT, _NONCE = 8, 12  # bytes


def sealed(content: bytes) -> bool:
    """Whether the bytes of a file are encrypted."""
    return content.startswith(MARK)


def seal(content: bytes, key: bytes) -> bytes:
    """Encrypt the bytes of a file."""
    head = MARK + _fingerprint(key) + secrets.token_bytes(_NONCE)
    return head + _cipher(key).encrypt(head[-_NONCE:], content, head)


def unseal(content: bytes, key: bytes, path: StrPath) -> bytes:
    """Decrypt the bytes of a file. Raises InputError naming the file for another key and for altered bytes."""
    size = len(MARK) + _FINGERPRINT + _NONCE
    head, body = content[:size], content[size:]
    if head[len(MARK) : -_NONCE] != _fingerprint(key):
        raise InputError(f"{path}: encrypted with another key than that of {KEY_FILE} or --key; give the right one")
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(cipher.decrypt(head[-_NONCE:], body, head))
    except InvalidTag as error:
        raise InputError(f"{path}: truncated or altered since it was encrypted; restore a backup") from error


def default_key() -> bytes | None:
    """The key of the file that SPKVER_BOOK_KEY names, or None if it is not set."""
    path = os.environ.get(KEY_FILE)
    return read_key(path) if path else None


def read_key(path: StrPath) -> bytes:
    """The key in a file. Raises InputError if there is none, or if other users can read the file."""
    place = Path(path)
    if not place.is_file():
        raise InputError(f"{path}: no such key file; 'spkver book encrypt --key FILE' makes one")
    require_private(place)
    digits = place.read_text("ascii", errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise InputError(f"{path}: not a key, which is 64 hexadecimal digits")
    return bytes.fromhex(digits)


def make_key(path: StrPath) -> bytes:
    """The key in a file; a new one if there is no file."""
    load_optional("cryptography", "vault")  # before there is a key without a use
    if not Path(path).exists():
        write_private(path, f"{secrets.token_hex(32)}\n".encode())
    return read_key(path)


def _fingerprint(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_FINGERPRINT, person=b"spkver vault").digest()


def _cipher(key: bytes):  # type: ignore[no-untyped-def]  # the package is optional
    load_optional("cryptography", "vault")
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
