"""What a header states against what is there: one rule for all formats that state a number of bytes."""

from __future__ import annotations

from spkver.errors import InputError
from spkver.files import StrPath

_NEAR = 1 << 16  # writers take the header off 2 or 4 GiB, or round down to a multiple of their buffer
_LIMITS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_SOX_AIFF = 0x7F000000
JUNK = 1024  # bytes after the samples that need not be anything
_SAMPLES = 10**9  # what streaming servers of synthetic speech write (Pocket TTS)


def is_placeholder(stated: int, block: int = 2) -> bool:
    """Whether a size in bytes is what a writer puts that does not know it, for example into a pipe.

    That is 0, or a number at the limit of 31, 32, 63 or 64 bits, 0x7F000000 (sox, AIFF), or 10^9 samples of `block`
    bytes. Another number is a promise, however large.
    """
    return (
        stated == 0
        or any(abs(limit - stated) <= _NEAR for limit in _LIMITS)
        or abs(_SOX_AIFF - stated) <= _NEAR
        or stated == _SAMPLES * block
    )


def refuse_cut(name: StrPath, stated: int, present: int, block: int = 2) -> None:
    """Raise InputError where fewer bytes are there than the header states; one is let pass, for padding."""
    if present + 1 < stated and not is_placeholder(stated, block):
        raise InputError(f"{name}: truncated: {present} of {stated} bytes of audio; copy the file again")


def refuse_more(name: StrPath, stated: int, present: int, block: int = 2) -> None:
    """Raise InputError where more bytes are there than the header states, beyond a little of anything."""
    if present > stated + JUNK and not is_placeholder(stated, block):
        raise unexplained(name, stated, present)


def unexplained(name: StrPath, stated: int, present: int) -> InputError:
    """What is said of bytes that no header accounts for."""
    return InputError(
        f"{name}: its header states {stated} bytes of audio, but {present} follow; was its writer stopped, or a second "
        "recording appended? Write it again, for example with sox --ignore-length"
    )
