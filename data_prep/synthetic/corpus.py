"""Generate the corpus of a plan: audio, data directories and trial lists, written atomically."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.synthetic.channels import RATE, Channel, draw_channel, record
from data_prep.synthetic.espeak import Utterance, prepare_data, synthesise
from data_prep.synthetic.sentences import sentences
from data_prep.synthetic.voices import Voice, draw_voice
from spkver import audio
from spkver.datadir import from_columns, write_datadir
from spkver.errors import InputError, RunError
from spkver.files import StrPath, atomic_directory, read_json, write_json
from spkver.progress import bar
from spkver.trials import make_trials, write_trials

VERSION = 1  # raise it with any change to the voices, sentences or channels that a seed gives
MANIFEST = "corpus.json"
TRIALS = "trials.txt"
MAX_VOICES = 256  # per directory: libespeak-ng lists at most 350 voices, including its accents
MAX_NONTARGETS = 20_000  # per trial list; with the default plan, lists contain all pairs


@dataclass(frozen=True)
class Plan:
    """The settings of a corpus; equal plans give equal corpora."""

    train_speakers: int = 60
    dev_speakers: int = 10
    eval_speakers: int = 20
    sessions: int = 2
    utterances: int = 5  # per session
    seed: int = 1

    def splits(self) -> dict[str, int]:
        """Speakers of each split."""
        return {"train": self.train_speakers, "dev": self.dev_speakers, "eval": self.eval_speakers}


@dataclass(frozen=True)
class Session:
    """The utterances of a speaker under one channel."""

    name: str
    channel: Channel
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True)
class Speaker:
    """One speaker of the plan: a voice and its sessions; `seed` draws the noise."""

    name: str
    split: str
    voice: Voice
    sessions: tuple[Session, ...]
    seed: int


@dataclass(frozen=True)
class Recording:
    """One line of a data directory; `id` is the path below the split's audio root."""

    id: str
    speaker: str
    session: str
    split: str
    pitch_class: str
    seconds: float


@dataclass(frozen=True)
class Summary:
    """Counts per split and hours of speech."""

    speakers: dict[str, int]
    utterances: dict[str, int]
    trials: dict[str, int]
    hours: float


def generate(out: StrPath, plan: Plan, *, jobs: int = 1) -> Summary | None:
    """Make the corpus of a plan in `out`, with `jobs` processes; the result does not depend on `jobs`.

    Returns None if `out` already holds this corpus. Raises InputError for a plan that gives no trials, and if `out`
    holds something else; RunError if the synthesiser fails.
    """
    _check(plan)
    target = Path(out)
    if _is_there(target, plan):
        return None
    with atomic_directory(target, holds=MANIFEST) as part, tempfile.TemporaryDirectory(prefix="spkver-") as scratch:
        speakers = draw(plan)
        recordings = _speak(speakers, Path(scratch), part / "audio", jobs)
        summary = _write_lists(part, target, recordings, plan.seed)
        write_json(part / MANIFEST, {"version": VERSION, **asdict(plan)})
    return summary


def draw(plan: Plan) -> list[Speaker]:
    """The speakers of a plan with all their random choices except the noise samples."""
    counts = plan.splits()
    per_speaker = plan.sessions * plan.utterances
    texts = iter(sentences(np.random.default_rng([plan.seed, 0]), sum(counts.values()) * per_speaker))
    speakers: list[Speaker] = []
    for split, count in counts.items():
        for index in range(count):
            number = len(speakers) + 1
            rng = np.random.default_rng([plan.seed, number])
            voice = draw_voice(rng, "mf"[index % 2])
            sessions = tuple(
                _draw_session(f"s{i + 1}", voice, [next(texts) for _ in range(plan.utterances)], rng)
                for i in range(plan.sessions)
            )
            speakers.append(Speaker(f"syn{number:04d}", split, voice, sessions, seed=int(rng.integers(2**31))))
    return speakers


def _draw_session(name: str, voice: Voice, texts: list[str], rng: np.random.Generator) -> Session:
    pitch_shift, rate_factor = rng.normal(0, 4), rng.uniform(0.92, 1.08)  # variation between sessions
    utterances = tuple(voice.say(text, pitch_shift, rate_factor, rng) for text in texts)
    return Session(name, draw_channel(rng), utterances)


def _check(plan: Plan) -> None:
    for split, count in plan.splits().items():
        least = 1 if split == "train" else 4  # two of each pitch class, for non-target trials within it
        if count < least:
            raise InputError(f"{count} {split} speakers: at least {least} needed (--{split}-speakers)")
    if plan.sessions < 2:
        raise InputError(f"{plan.sessions} sessions: at least 2 needed for target trials across sessions (--sessions)")
    if plan.utterances < 1:
        raise InputError(f"{plan.utterances} utterances: at least 1 needed (--utterances)")
    if plan.seed < 0:
        raise InputError(f"seed {plan.seed}: must not be negative (--seed)")


def _is_there(target: Path, plan: Plan) -> bool:
    """Whether `target` is the corpus of `plan`. Raises InputError if it is anything else."""
    if target.is_dir() and not any(target.iterdir()):
        return False
    if (target / MANIFEST).is_file():
        found = read_json(target / MANIFEST)
        if found == {"version": VERSION, **asdict(plan)}:
            return True
        raise InputError(
            f"{target}: holds a corpus with other settings (see its {MANIFEST}); remove it or choose another folder"
        )
    if target.exists():
        raise InputError(f"{target}: exists and is not a synthetic corpus; choose another folder")
    return False


def _speak(speakers: list[Speaker], data: Path, root: Path, jobs: int) -> list[Recording]:
    """All recordings of all speakers, sorted by id."""
    total = sum(len(session.utterances) for speaker in speakers for session in speaker.sessions)
    recordings: list[Recording] = []
    with bar(total=total, what="synthetic voices", unit="utt") as progress:
        for first in range(0, len(speakers), MAX_VOICES):
            group, folder = speakers[first : first + MAX_VOICES], data / str(first)
            prepare_data(folder, {speaker.name: speaker.voice.variant(speaker.name) for speaker in group})
            for made in _in_parallel(functools.partial(speak, data=folder, root=root), group, jobs):
                recordings += made
                progress.update(len(made))
    return sorted(recordings, key=lambda recording: recording.id.encode())


def _in_parallel(
    work: Callable[[Speaker], list[Recording]], speakers: list[Speaker], jobs: int
) -> Iterator[list[Recording]]:
    """The results of `work` for each speaker, in order of completion; the first failure cancels the rest."""
    if jobs == 1:
        yield from map(work, speakers)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(work, speaker) for speaker in speakers]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RunError(f"a worker process died ({error}); try fewer --jobs") from error
        finally:
            pool.shutdown(cancel_futures=True)


def speak(speaker: Speaker, data: Path, root: Path) -> list[Recording]:
    """Synthesise, record and write all utterances of one speaker as `root`/SPLIT/SPEAKER/SESSION/UTTERANCE.flac."""
    utterances = [utterance for session in speaker.sessions for utterance in session.utterances]
    spoken, rate = synthesise(data, f"{speaker.voice.accent}+{speaker.name}", utterances)
    clean = iter(audio.resample(audio.from_int16(np.asarray(samples)), rate, RATE) for samples in spoken)
    rng = np.random.default_rng(speaker.seed)
    recordings = []
    for session in speaker.sessions:
        folder = root / speaker.split / speaker.name / session.name
        folder.mkdir(parents=True)
        for number in range(1, len(session.utterances) + 1):
            file = folder / f"u{number:02d}.flac"
            heard = record(next(clean).astype(np.float64), session.channel, rng)
            audio.write(file, heard.astype(np.float32), RATE)
            recordings.append(
                Recording(
                    id=file.relative_to(root / speaker.split).as_posix(),
                    speaker=speaker.name,
                    session=f"{speaker.name}-{session.name}",
                    split=speaker.split,
                    pitch_class=speaker.voice.pitch_class,
                    seconds=len(heard) / RATE,
                )
            )
    return recordings


def _write_lists(part: Path, target: Path, recordings: list[Recording], seed: int) -> Summary:
    """Write data directories and trial lists to `part`, with the paths of its final place `target`."""
    rows = {split: [r for r in recordings if r.split == split] for split in ("train", "dev", "eval")}
    trials = {}
    for split, of_split in rows.items():
        ids = [r.id for r in of_split]
        speakers = [r.speaker for r in of_split]
        sessions = [r.session for r in of_split]
        pitch_classes = [r.pitch_class for r in of_split]
        data = from_columns(
            ids,
            [str(target.resolve() / "audio" / split / name) for name in ids],
            speakers,
            sessions=sessions,
            seconds=[r.seconds for r in of_split],
            genders=pitch_classes,
        )
        write_datadir(part / split, data)
        if split == "train":
            continue
        made = make_trials(
            ids,
            speakers,
            sessions,
            nontargets=_nontargets(speakers, pitch_classes),
            seed=seed,
            across_sessions=True,
            groups=pitch_classes,
        )
        write_trials(part / split / TRIALS, made)
        trials[split] = len(made.enrol)
    return Summary(
        speakers={split: len({r.speaker for r in of_split}) for split, of_split in rows.items()},
        utterances={split: len(of_split) for split, of_split in rows.items()},
        trials=trials,
        hours=sum(r.seconds for r in recordings) / 3600,
    )


def _nontargets(speakers: list[str], pitch_classes: list[str]) -> int:
    """The number of possible non-target trials, at most MAX_NONTARGETS."""
    of_speaker = Counter(zip(pitch_classes, speakers))
    of_class = Counter(pitch_classes)
    pairs = sum(n * n for n in of_class.values()) - sum(n * n for n in of_speaker.values())
    return min(pairs // 2, MAX_NONTARGETS)
