"""Compare the stated with the actual number of bytes: one rule for all formats."""

from __future__ import annotations

from spkver.errors import InputError
from spkver.files import StrPath

_NEAR = 1 << 16  # writers subtract the header from 2 or 4 GiB, or round down to a multiple of their buffer
_LIMITS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_SOX_AIFF = 0x7F000000
JUNK = 1024  # bytes of unknown content that are accepted after the samples
_SAMPLES = 10**9  # placeholder of streaming servers of synthetic speech (Pocket TTS)


def is_placeholder(stated: int, block: int = 2) -> bool:
    """Whether a stated size is a placeholder of a writer that does not know the size, e.g. when writing to a pipe.

    Placeholders are 0, numbers near the limit of 31, 32, 63 or 64 bits, 0x7F000000 (sox, AIFF), and 10^9 samples of
    `block` bytes. Any other number must be correct.
    """
    return (
        stated == 0
        or any(abs(limit - stated) <= _NEAR for limit in _LIMITS)
        or abs(_SOX_AIFF - stated) <= _NEAR
        or stated == _SAMPLES * block
    )


def refuse_cut(name: StrPath, stated: int, present: int, block: int = 2) -> None:
    """Raise InputError if there are fewer bytes than the header states; one missing padding byte is allowed."""
    if present + 1 < stated and not is_placeholder(stated, block):
        raise InputError(f"{name}: truncated: {present} of {stated} bytes of audio; copy the file again")


def refuse_more(name: StrPath, stated: int, present: int, block: int = 2) -> None:
    """Raise InputError if there are more bytes than the header states, apart from a little junk."""
    if present > stated + JUNK and not is_placeholder(stated, block):
        raise unexplained(name, stated, present)


def unexplained(name: StrPath, stated: int, present: int) -> InputError:
    """The error for bytes beyond the stated size."""
    return InputError(
        f"{name}: its header states {stated} bytes of audio, but {present} follow; was its writer stopped, or a second "
        "recording appended? Write it again, for example with sox --ignore-length"
    )
