"""Damaged recordings, lists and pack indexes by the thousand: each is read, or refused by name; nothing else.

python tests/fuzz.py --examples 20000 --seed 7: a line for every kind of outcome. An example that brings the process
down or takes a minute leaves its file behind and ends the run with an error.
"""

import argparse
import collections
import faulthandler
import io
import json
import re
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal  # noqa: F401 - not within the time of an example
import soundfile

from spkver import audio
from spkver.datadir import from_columns, read_datadir, write_datadir
from spkver.errors import InputError
from spkver.packs import Pack, PackWriter
from spkver.trials import read_trials

FORMATS = [
    *(("WAV", coding) for coding in ("PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM")),
    *(("WAVEX", coding) for coding in ("PCM_16", "PCM_24", "FLOAT")),
    *((container, "PCM_16") for container in ("FLAC", "NIST", "AIFF", "AU", "W64", "RF64", "CAF")),
    ("NIST", "ULAW"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def recordings() -> list[bytes]:
    """A short recording of every format."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=4000).astype(np.float32)
    found = []
    for container, coding in FORMATS:
        stream = io.BytesIO()
        soundfile.write(stream, noise, 16000, format=container, subtype=coding)
        found.append(stream.getvalue())
    return found


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """A few bytes changed, mostly in the header; numbers that lie; ends cut off."""
    out = bytearray(content)
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(0, max(1, len(out) if random.random() < 0.3 else min(len(out), 120))))
        kind = random.integers(0, 6)
        if kind == 0:
            out[place : place + 1] = bytes([random.integers(0, 256)])
        elif kind == 1:
            number = struct.pack(random.choice(["<I", ">I"]), NUMBERS[random.integers(0, len(NUMBERS))])
            out[place : place + 4] = number[: int(random.choice([1, 2, 4]))]
        elif kind == 2:
            del out[place:]
        elif kind == 3:
            del out[place : place + int(random.integers(1, 9))]
        elif kind == 4:
            out[place:place] = out[: int(random.integers(1, 40))]
        else:  # digits and words of text headers
            out[place : place + 1] = bytes([random.choice(list(b"0123456789-+.eE \n\t\0\"'/\xff"))])
    return bytes(out)


def check_recording(path: Path) -> str:
    """Read a recording. Returns `audio`; raises InputError, or AssertionError for what is neither."""
    waveform, rate = audio.read(path, 16000, channel=0, max_seconds=10)
    assert waveform.dtype == np.float32 and waveform.ndim == 1 and rate == 16000
    assert 0 < len(waveform) <= 10 * 16000 + 1 and np.isfinite(waveform).all()
    assert audio.to_int16(waveform).dtype == np.int16
    assert audio.seconds(path) > 0
    return "audio"


def check_datadir(path: Path) -> str:
    """Read a data directory."""
    data = read_datadir(path.parent)
    assert len(data) and not data.table["speaker"].null_count and not data.table["path"].null_count
    return "data"


def check_trials(path: Path) -> str:
    """Read a trial list."""
    assert len(read_trials(path).enrol)
    return "trials"


def check_pack(path: Path) -> str:
    """Open a pack and read all of it."""
    pack = Pack.open(path.parent)
    assert sum(len(pack[row]) for row in range(len(pack))) == pack.lengths.sum()
    return "pack"


def lists(folder: Path) -> list[tuple[Path, Callable[[Path], str]]]:
    """Files to damage, each with what reads it."""
    ids = [f"s{number % 3}/u{number}.wav" for number in range(9)]
    data = from_columns(ids, [f"/corpus/{name}" for name in ids], [name[:2] for name in ids], seconds=[1.5] * 9)
    write_datadir(folder / "data", data)
    (folder / "data" / "segments").write_text("".join(f"{name} {name} 0.5 1.25\n" for name in ids))
    (folder / "data" / "reco2file_and_channel").write_text("".join(f"{name} call A\n" for name in ids))
    (folder / "trials").write_text("".join(f"{number % 2} {ids[number]} {ids[-1]}\n" for number in range(9)))
    (folder / "kaldi").write_text("".join(f"{name} {ids[0]} nontarget\n" for name in ids))
    with PackWriter(folder / "pack", kind="audio", sample_rate=16000) as pack:
        pack.add("a", "s", "", np.arange(100, dtype="<i2"))
    checks = [(folder / "data" / name, check_datadir) for name in ("wav.scp", "utt2spk", "segments", "utt2dur")]
    checks.append((folder / "data" / "reco2file_and_channel", check_datadir))
    checks += [(folder / "trials", check_trials), (folder / "kaldi", check_trials)]
    return [*checks, (folder / "pack" / "pack.json", check_pack), (folder / "pack" / "shard-00000.arrow", check_pack)]


def outcome(path: Path, check: Callable[[Path], str]) -> str:
    """What reading gave: a kind of data, or the kind of the refusal, numbers and names left out."""
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        return check(path)
    except InputError as error:
        text = str(error)
        assert text.startswith(str(path.parent)), f"does not say where: {text}"
        return re.sub(r"\d+|'.*'|\".*\"", "_", " ".join(text.replace(str(path), "").split()))[:60]
    finally:
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    kinds: collections.Counter[str] = collections.Counter()
    sounds, texts = recordings(), lists(folder)
    for number in range(options.examples):
        if number % 2:
            path, check = folder / "recording", check_recording
            path.write_bytes(mutate(sounds[random.integers(0, len(sounds))], random))
            kinds[outcome(path, check)] += 1
        else:
            path, check = texts[random.integers(0, len(texts))]
            sound = path.read_bytes()
            path.write_bytes(mutate(sound, random))
            kinds[outcome(path, check)] += 1
            path.write_bytes(sound)
    shutil.rmtree(folder)
    print(json.dumps(dict(kinds.most_common()), indent=1))


if __name__ == "__main__":
    main()
