"""Ogg: missing pages are detected, all links of a chain are read, and headers are corrected for libsndfile."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.containers import ogg
from spkver.containers.source import Source
from spkver.errors import InputError

CODINGS = ["VORBIS", "OPUS"]
_RATE = 28 + 12  # offset of the input rate in the first page of Opus


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Noise of 20 s, which fills many pages."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=320000)
    path = tmp_path_factory.mktemp("ogg") / "x.ogg"
    found = {}
    for coding in CODINGS:
        soundfile.write(path, noise, 16000, format="OGG", subtype=coding)
        found[coding] = path.read_bytes()
    return found


def starts(content: bytes) -> list[int]:
    return [page.start for page in ogg._pages(Source.of("x", content))]


def checksum(page: bytes) -> int:
    """The CRC computed bit by bit, as the format defines it."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def changed(content: bytes, at: int, end: int, patches: Sequence[tuple[int, bytes]]) -> bytes:
    """The content with bytes of one page replaced and its checksum updated."""
    page = bytearray(content[at:end])
    for offset, new in patches:
        page[offset : offset + len(new)] = new
    page[22:26] = struct.pack("<I", checksum(bytes(page)))
    return content[:at] + bytes(page) + content[end:]


def without_end(content: bytes) -> bytes:
    last = starts(content)[-1]
    return changed(content, last, len(content), [(5, b"\0")])


@pytest.mark.parametrize("coding", CODINGS)
def test_truncated_ogg_is_rejected(tmp_path: Path, files: dict[str, bytes], coding: str) -> None:
    """At any byte except between two pages; also with zeros in place of the rest."""
    content = files[coding]
    places = np.random.default_rng(0).integers(1, len(content), 60).tolist()
    edges = starts(content)
    assert len(edges) > 8
    for place in [*places, *(edge + 3 for edge in edges), *(edge + 27 for edge in edges)]:
        if place in edges:
            continue
        for rest in (b"", bytes(len(content) - place)):
            (tmp_path / "x.ogg").write_bytes(content[:place] + rest)
            for read in (audio.seconds, audio.read):
                with pytest.raises(InputError, match=r"x\.ogg: (truncated|damaged|cannot be decoded)"):
                    read(tmp_path / "x.ogg")


@pytest.mark.parametrize("coding", CODINGS)
def test_ogg_without_end_flag_is_read_completely(tmp_path: Path, files: dict[str, bytes], coding: str) -> None:
    (tmp_path / "x.ogg").write_bytes(files[coding])
    whole, rate = audio.read(tmp_path / "x.ogg")
    assert (len(whole), rate) == (320000, 16000)
    (tmp_path / "x.ogg").write_bytes(without_end(files[coding]))
    np.testing.assert_array_equal(audio.read(tmp_path / "x.ogg")[0], whole)
    assert audio.seconds(tmp_path / "x.ogg") == 20


@pytest.mark.parametrize("coding", CODINGS)
def test_bytes_after_ogg_are_ignored_only_with_the_end_flag(
    tmp_path: Path, files: dict[str, bytes], coding: str
) -> None:
    """A tag or padding is accepted. Without the end flag, the bytes may be damaged pages."""
    for behind in (bytes(5000), b"TAG" + bytes(125)):
        (tmp_path / "x.ogg").write_bytes(files[coding] + behind)
        assert len(audio.read(tmp_path / "x.ogg")[0]) == 320000
        (tmp_path / "x.ogg").write_bytes(without_end(files[coding]) + behind)
        with pytest.raises(InputError, match="damaged or truncated: no Ogg page at byte"):
            audio.read(tmp_path / "x.ogg")


def test_ogg_truncated_within_a_packet_is_rejected(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Truncated between two pages, where the last packet of the first continues on the second."""
    content = files["VORBIS"]
    page = list(ogg._pages(Source.of("x", content)))[-2]
    cut = changed(content[: page.end], page.start, page.end, [(page.body - page.start - 1, b"\xff")])
    lacing = content[page.start + 27 : page.body]
    body = cut[page.body :].ljust(sum(lacing[:-1]) + 255, b"\0")
    cut = changed(cut[: page.body] + body, page.start, page.body + len(body), [])
    (tmp_path / "x.ogg").write_bytes(cut)
    with pytest.raises(InputError, match="truncated: its last Ogg packet is incomplete"):
        audio.seconds(tmp_path / "x.ogg")


def test_other_bytes_between_ogg_pages_are_rejected(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "x.ogg").write_bytes(files["OPUS"] + b"no page" + files["OPUS"])
    with pytest.raises(InputError, match="damaged or truncated: no Ogg page at byte"):
        audio.seconds(tmp_path / "x.ogg")


@pytest.mark.parametrize("coding", CODINGS)
def test_missing_or_damaged_ogg_page_is_rejected(tmp_path: Path, files: dict[str, bytes], coding: str) -> None:
    content = files[coding]
    edges = [*starts(content), len(content)]
    pages = list(ogg._pages(Source.of("x", content)))
    sound = [number for number, page in enumerate(pages) if page.granule > 0]
    for number in sound[:-1]:
        damaged = content[: edges[number]] + content[edges[number + 1] :]
        (tmp_path / "x.ogg").write_bytes(damaged)
        if number > sound[0]:  # a recording of a live stream lacks the first audio pages
            with pytest.raises(InputError, match=rf"damaged: Ogg pages are missing at byte {edges[number]}"):
                audio.seconds(tmp_path / "x.ogg")
    for number in range(len(pages)):
        damaged = bytearray(content)
        damaged[edges[number + 1] - 5] ^= 4
        (tmp_path / "x.ogg").write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.ogg: (damaged|truncated|cannot be decoded)"):
            audio.read(tmp_path / "x.ogg")


def test_checksum_equals_its_definition(files: dict[str, bytes]) -> None:
    page = files["OPUS"][: starts(files["OPUS"])[1]]
    assert ogg._checksum(page) == checksum(page) == int.from_bytes(page[22:26], "little")


@pytest.mark.parametrize("coding", CODINGS)
def test_ogg_chain_is_read_completely(tmp_path: Path, files: dict[str, bytes], coding: str) -> None:
    """Streams concatenated by `cat`, also without end flags and with equal serial numbers."""
    soundfile.write(tmp_path / "short.ogg", 0.5 * np.sin(np.arange(8000) * 0.1), 16000, format="OGG", subtype=coding)
    short = (tmp_path / "short.ogg").read_bytes()
    (tmp_path / "long.ogg").write_bytes(files[coding])
    expected = [audio.read(tmp_path / f"{name}.ogg")[0] for name in ("short", "long")]
    for links in ((short, files[coding]), (without_end(short), files[coding]), (short, short, files[coding])):
        (tmp_path / "x.ogg").write_bytes(b"".join(links))
        whole = np.concatenate([*expected[:1] * (len(links) - 1), expected[1]])
        np.testing.assert_array_equal(audio.read(tmp_path / "x.ogg")[0], whole)
        assert audio.seconds(tmp_path / "x.ogg") == len(whole) / 16000
        for start, end in ((0.25, 0.4), (0.4, 1.3), (0.5, 2.0), (2.0, 4.0)):
            part = audio.read(tmp_path / "x.ogg", start=start, end=end)[0]
            np.testing.assert_allclose(part, whole[int(start * 16000) : int(end * 16000)], atol=1e-3)
    (tmp_path / "x.ogg").write_bytes((short + files[coding])[:-100])
    with pytest.raises(InputError, match="truncated"):
        audio.seconds(tmp_path / "x.ogg")


def test_ogg_chain_of_two_sample_rates_is_rejected(tmp_path: Path, files: dict[str, bytes]) -> None:
    soundfile.write(tmp_path / "x.ogg", np.zeros((8000, 2)), 44100, format="OGG", subtype="VORBIS")
    (tmp_path / "x.ogg").write_bytes(files["VORBIS"] + (tmp_path / "x.ogg").read_bytes())
    with pytest.raises(
        InputError, match=r"x\.ogg: contains recordings of different formats.*16000 Hz, 1 .*44100 Hz, 2"
    ):
        audio.seconds(tmp_path / "x.ogg")


def test_opus_without_input_rate_is_read_at_48_khz(tmp_path: Path) -> None:
    """0 means "not stated" (RFC 7845). Decoding at 48 kHz keeps the full band."""
    tone = 0.5 * np.sin(2 * np.pi * 6000 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / "x.opus", tone, 16000, format="OGG", subtype="OPUS")
    content = (tmp_path / "x.opus").read_bytes()
    (tmp_path / "x.opus").write_bytes(changed(content, 0, starts(content)[1], [(_RATE, bytes(4))]))
    y, rate = audio.read(tmp_path / "x.opus")
    assert (len(y), rate, audio.seconds(tmp_path / "x.opus")) == (48000, 48000, 1.0)
    spectrum = np.abs(np.fft.rfft(y))
    assert np.argmax(spectrum) == 6000
