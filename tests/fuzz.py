"""Read thousands of damaged recordings, lists and packs: each is read or raises InputError that names it.

python tests/fuzz.py --examples 20000 --seed 7: a line for every kind of outcome. An example that brings the process
down or takes a minute leaves its file behind and ends the run with an error.
"""

import argparse
import collections
import contextlib
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
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import scipy.signal  # noqa: F401 - not within the time of an example
import soundfile

from data_prep import lhotse, wespeaker
from spkver import audio
from spkver.config import Config, load
from spkver.datadir import DataDir, from_columns, read_datadir, write_datadir
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.packs import Pack, PackWriter
from spkver.report.curves import read_curves
from spkver.scoring.breakdown import break_down
from spkver.scoring.calibration import Affine, Steps, read_map, write_map
from spkver.scoring.chain import fit_chain, read_chain, write_chain
from spkver.scoring.evaluation import evaluate
from spkver.scoring.metadata import read_table
from spkver.scoring.plda import fit_plda, read_plda, write_plda
from spkver.trials import (
    Scores,
    Trials,
    falling,
    read_enrolment,
    read_scores,
    read_trials,
    write_scores,
    write_trials,
)

FORMATS = [
    *(("WAV", coding) for coding in ("PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM")),
    *(("WAVEX", coding) for coding in ("PCM_16", "PCM_24", "FLOAT")),
    *((container, "PCM_16") for container in ("FLAC", "NIST", "AIFF", "AU", "W64", "RF64", "CAF")),
    ("NIST", "ULAW"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
WORDS = [
    *(
        b"",
        b" ",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        "\u0085\u3000é".encode(),
        b'"',
        b"'",
        b",",
        b"#",
    ),
    *(b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"1e-400", b"1_0", b"0x1", b"+0.5", b"1.", b"null", b"true", b"-"),
    *(b"\\ud800", b'"\\udfff"', b"[" * 5000, b'{"a":' * 5000, b"{}", b"[]", b"&a [*a]", b"!!python/name:os", b"<<: 1"),
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
    """Change a few bytes, mostly in the header, set wrong numbers, or truncate."""
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


def mutate_text(content: bytes, random: np.random.Generator) -> bytes:
    """Replace words by invalid numbers, large numbers, nested values or binary content, or change the encoding."""
    if random.random() < 0.3:
        return mutate(content, random)
    if random.random() < 0.05:
        return content.decode("utf-8").encode(str(random.choice(["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])))
    words = re.split(rb"([^\w.+-]+)", content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, len(words)))
        words[place] = (words[place] if random.random() < 0.3 else b"") + WORDS[random.integers(0, len(WORDS))]
    return b"".join(words)


def check_recording(path: Path) -> str:
    """Read a recording and return `audio`. Raises InputError, or AssertionError for an invalid result."""
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


def check_scores(path: Path) -> str:
    """Read scores, and evaluate and calibrate them."""
    scores = read_scores(path)
    assert np.isfinite(scores.values).all() and len(scores) == len(scores.trials.enrol)
    if scores.trials.target is not None and 0 < scores.trials.target.sum() < len(scores):
        falling(scores)
        assert evaluate(scores, llr=True).plain()
    return "scores"


def check_table(path: Path) -> str:
    """Read a table of ids, and break scores down by each column."""
    table = read_table(path)
    trials = Trials(table["id"].cast("string"), table["id"].cast("string"), np.arange(len(table)) % 2 == 0)
    for name in table.column_names:
        if len(table) > 1:
            with contextlib.suppress(InputError):
                break_down(Scores(trials, np.arange(len(table), dtype=np.float32)), table, name)
    return "table"


def check_curves(path: Path) -> str:
    """Read the log of a training run."""
    read_curves(path.parent)
    return "log"


def reads(what: Callable[[Path], object], kind: str) -> Callable[[Path], str]:
    """Wrap a function that only reads, or that reads a data directory which is then written and read again."""

    def check(path: Path) -> str:
        found = what(path)
        if isinstance(found, DataDir):
            with contextlib.suppress(InputError), tempfile.TemporaryDirectory() as folder:
                write_datadir(Path(folder) / "data", found)
                read_datadir(Path(folder) / "data", allow_pipes=True)
        return kind

    return check


class Settings(Config):
    """A schema for YAML."""

    steps: int = 3
    rate: float = 0.1
    word: str = "a"
    inner: dict[str, float] = {"a": 1.0}
    items: tuple[float, ...] = (1.0, 2.0)


def texts(folder: Path) -> list[tuple[Path, Callable[[Path], str]]]:
    """Other text and tables, each with its reader."""
    folder.mkdir()
    ids = [f"s{number % 3}/u{number}" for number in range(9)]
    trials = Trials(pa.array(ids), pa.array(ids[1:] + ids[:1]), np.arange(9) % 3 == 0)
    scores = Scores(trials, np.linspace(-1, 1, 9))
    checks: list[tuple[Path, Callable[[Path], str]]] = []
    for suffix in ("", ".csv", ".parquet"):
        write_scores(folder / f"scores{suffix}", scores)
        write_trials(folder / f"trials{suffix}", trials)
        checks += [(folder / f"scores{suffix}", check_scores), (folder / f"trials{suffix}", check_trials)]
    table = pa.table({"id": ids, "speaker": [name[:2] for name in ids], "seconds": np.arange(9) / 2, "note": ["é"] * 9})
    pyarrow.csv.write_csv(table, folder / "t.csv")
    pq.write_table(table, folder / "t.parquet")
    checks += [(folder / "t.csv", check_table), (folder / "t.parquet", check_table)]
    (folder / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "loss": {1 / (i + 1)}}}\n' for i in range(4)))
    checks.append((folder / "metrics.jsonl", check_curves))
    (folder / "spk2utt").write_text("s0 a b c\ns1 d e\n")
    checks.append((folder / "spk2utt", reads(read_enrolment, "enrolment")))
    write_map(folder / "affine.json", Affine(np.array([2.0, 1.0]), -1.5))
    write_map(folder / "steps.json", Steps(np.arange(3.0), np.arange(3.0)))
    checks += [(folder / f"{name}.json", reads(read_map, "map")) for name in ("affine", "steps")]
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    embeddings = Embeddings([f"u{i}" for i in range(40)], vectors, [f"s{i % 8}" for i in range(40)], "m")
    write_chain(folder / "chain", fit_chain(embeddings, ["centre", "lda:2", "length"]))
    write_plda(folder / "plda", fit_plda(embeddings))
    for name, read in (("chain", read_chain), ("plda", read_plda)):
        check = reads(lambda path, read=read: read(path.parent), name)  # type: ignore[misc]
        checks += [(folder / name / f"{name}.yaml", check), (folder / name / f"{name}.safetensors", check)]
    (folder / "c.yaml").write_text("steps: 5\nrate: 1e-4\nword: x\ninner: {a: 1, b: 2.5}\nitems: [1, 2]\n")
    checks.append((folder / "c.yaml", reads(lambda path: load(Settings, path), "config")))
    return checks + manifests(folder, ids)


def manifests(folder: Path, ids: list[str]) -> list[tuple[Path, Callable[[Path], str]]]:
    """Manifests of other toolkits, each with its data preparation."""
    about = {"sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    recordings, supervisions, cuts, raw = [], [], [], []
    for name in ids:
        source = {"type": "file", "channels": [0], "source": f"/corpus/{name}.wav"}
        recordings.append({"id": name, "sources": [source], **about})
        place = {"recording_id": name, "start": 0.0, "duration": 0.5, "channel": 0}
        supervisions.append({"id": f"{name}-x", "speaker": name[:2], "gender": "male", "language": "é", **place})
        cut = {"id": name, "type": "MonoCut", "start": 0.0, "duration": 1.0}
        cuts.append(cut | {"recording": recordings[-1], "supervisions": [supervisions[-1]]})
        raw.append({"key": name, "wav": f"/corpus/{name}.wav", "spk": name[:2]})
    for name, values in (("r", recordings), ("s", supervisions), ("c", cuts), ("raw", raw)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))
    both = reads(lambda path: lhotse.prepare(folder / "r.jsonl", folder / "s.jsonl"), "lhotse")
    return [
        (folder / "r.jsonl", both),
        (folder / "s.jsonl", both),
        (folder / "c.jsonl", reads(lhotse.prepare_cuts, "cuts")),
        (folder / "raw.jsonl", reads(lambda path: wespeaker.prepare_raw(path, durations=False), "raw")),
    ]


def lists(folder: Path) -> list[tuple[Path, Callable[[Path], str]]]:
    """Files to damage, each with its reader."""
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
    """The outcome: a kind of data, or the kind of error without numbers and names."""
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
    sounds, others = recordings(), [*lists(folder), *texts(folder / "texts")]
    for number in range(options.examples):
        if number % 2:
            path, check = folder / "recording", check_recording
            path.write_bytes(mutate(sounds[random.integers(0, len(sounds))], random))
            kinds[outcome(path, check)] += 1
        else:
            path, check = others[random.integers(0, len(others))]
            sound = path.read_bytes()
            change = mutate if path.suffix in (".parquet", ".arrow", ".safetensors") else mutate_text
            path.write_bytes(change(sound, random))
            kinds[outcome(path, check)] += 1
            path.write_bytes(sound)
    shutil.rmtree(folder)
    print(json.dumps(dict(kinds.most_common()), indent=1))


if __name__ == "__main__":
    main()
