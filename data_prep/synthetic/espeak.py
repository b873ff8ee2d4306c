"""Speech synthesis by libespeak-ng (package espeakng-loader) in a separate process.

The library keeps global state (oscillator phases continue from one utterance to the next), and its crashes end the
process. So each speaker gets a short-lived process, `python -m data_prep.synthetic.espeak`, that reads a JSON request
from standard input and writes samples to standard output: equal requests give bit-identical samples. This module
imports neither numpy nor anything else that is slow to load.

The library is GPL-3; only this module loads it.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from spkver.errors import InputError, RunError, load_optional

# speak_lib.h: output mode, options, parameters and flags
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_UTF8 = 1
_SECONDS = 120.0  # for one speaker; usually a fraction of a second is enough


@dataclass(frozen=True)
class Utterance:
    """Text, rate in words per minute, and pitch and pitch range in 0..100, where 50 is the default of the voice."""

    text: str
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50


def prepare_data(directory: Path, variants: Mapping[str, str]) -> None:
    """Fill `directory` with the library's English data and one voice-variant file per entry of `variants`."""
    source = _data_path()
    target = directory / "espeak-ng-data"
    accents = target / "lang" / "gmw"
    voices = target / "voices" / "!v"
    accents.mkdir(parents=True)
    voices.mkdir(parents=True)
    try:
        for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict"):
            shutil.copyfile(source / name, target / name)
        for accent in (source / "lang" / "gmw").glob("en*"):
            shutil.copyfile(accent, accents / accent.name)
    except OSError as error:
        raise InputError(f"{error.filename}: not the data of libespeak-ng; reinstall espeakng-loader") from error
    for name, text in variants.items():
        (voices / name).write_text(text, encoding="utf-8")


def synthesise(data: Path, voice: str, utterances: Sequence[Utterance]) -> tuple[list[array[int]], int]:
    """The 16-bit samples of each utterance, and their sample rate in Hz, from a separate process.

    data: a directory made by `prepare_data`; voice: accent and variant, as in `en-us+NAME`
    Raises RunError if the library fails or crashes.
    """
    request = {
        "library": str(_loader().get_library_path()),
        "data": str(data),
        "voice": voice,
        "utterances": [asdict(utterance) for utterance in utterances],
    }
    command = [sys.executable, "-m", "data_prep.synthetic.espeak"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"libespeak-ng did not finish in {_SECONDS:.0f} s (voice {voice})") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise RunError(
            f"libespeak-ng failed (exit {done.returncode}, voice {voice}): {words[-1] if words else 'no message'}"
        )
    header, _, payload = done.stdout.partition(b"\n")
    reply = json.loads(header)
    samples = array("h", payload)
    if len(samples) != sum(reply["lengths"]) or not all(reply["lengths"]):
        raise RunError(f"libespeak-ng returned {len(samples)} samples of {sum(reply['lengths'])} (voice {voice})")
    ends = [sum(reply["lengths"][: i + 1]) for i in range(len(utterances))]
    return [samples[end - n : end] for end, n in zip(ends, reply["lengths"])], reply["sample_rate"]


def _loader() -> ModuleType:
    return load_optional("espeakng_loader", "synthetic")


def _data_path() -> Path:
    try:
        return Path(_loader().get_data_path())
    except RuntimeError as error:
        raise InputError(f"espeakng-loader lacks its data ({error}); reinstall it") from error


def _serve() -> None:
    """Child process: read a request from standard input, write samples to standard output."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def receive(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, request["data"].encode(), _DONT_EXIT)
    if sample_rate <= 0:
        sys.exit(f"espeak_Initialize gave {sample_rate} for {request['data']}")
    library.espeak_SetSynthCallback(receive)
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    if library.espeak_SetVoiceByName(request["voice"].encode()):
        sys.exit(f"no voice {request['voice']}")
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,  # text
        ctypes.c_size_t,  # its size with the closing zero
        ctypes.c_uint,  # position to start from
        ctypes.c_int,  # kind of position
        ctypes.c_uint,  # position to end at, 0 for none
        ctypes.c_uint,  # flags
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_ng_SetRandSeed(1)

    spoken: list[bytes] = []
    for utterance in request["utterances"]:
        settings = {
            _RATE: utterance["rate"],
            _PITCH: utterance["pitch"],
            _RANGE: utterance["pitch_range"],
            _VOLUME: 60,  # of 100: strong voices clip at full volume
        }
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        pieces.clear()
        text = utterance["text"].encode()
        if library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None):
            sys.exit(f"espeak_Synth refused {utterance['text']!r}")
        spoken.append(b"".join(pieces))
    header = {"sample_rate": sample_rate, "lengths": [len(samples) // 2 for samples in spoken]}
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + b"".join(spoken))


if __name__ == "__main__":
    _serve()
