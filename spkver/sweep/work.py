"""One run of a sweep, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from pathlib import Path

from spkver.encoder import Encoder
from spkver.errors import SpkverError, StoppedError
from spkver.extraction import extract
from spkver.files import write_json, write_text
from spkver.recipe import train
from spkver.scoring.backend import BackEnd
from spkver.scoring.evaluation import evaluate
from spkver.scoring.files import score_list
from spkver.sweep.plan import TESTS, Run, TestFiles
from spkver.trials import read_labelled


def work(run: Run, points: tuple[str, ...]) -> None:
    """Do what is left of a run, and exit with 0, with 143 if it was stopped, or with 1 and a file with the reason."""
    _print_to(run.log)
    try:
        train(run.recipe, run.folder, resume=True, say=_say)
        for name in run.tests:
            if not run.has(name):
                _test(run, name, points)
    except StoppedError as stopped:
        _say(str(stopped))
        sys.exit(stopped.exit_code)
    except Exception as error:
        if not isinstance(error, SpkverError):
            traceback.print_exc()
        reason = str(error) if isinstance(error, SpkverError) else f"{type(error).__name__}: {error}; see {run.log}"
        write_text(run.failed, " ".join(reason.split()) + "\n")
        sys.exit(1)


def _test(run: Run, name: str, points: tuple[str, ...]) -> None:
    """Score a trial list with the model of a run, and write scores and error rates."""
    test = run.tests[name]
    enrol = _embeddings(run, test, test.config.enrol_seconds)
    other = _embeddings(run, test, test.config.seconds)
    score_list(test.config.trials, BackEnd().open(enrol, test=other), run.scores(name))
    found = evaluate(read_labelled(run.scores(name), test.config.trials, say=_say), points)
    write_json(run.result(name), {"test": test.identity, "results": found.plain()})
    _say(f"{name}: EER {found.eer:.2%}")


def _embeddings(run: Run, test: TestFiles, seconds: float | None) -> Path:
    """The embeddings of a source, made once for all trial lists that use them."""
    what = f"{test.config.source} {test.identity['source_sha256']} {seconds}"
    path = run.folder / TESTS / f"embeddings-{hashlib.sha256(what.encode()).hexdigest()[:12]}.parquet"
    if not path.is_file():
        encoder = Encoder.open(run.folder / "model", run.recipe.train.device)
        extract(encoder, test.config.source, path, seconds=seconds, jobs=1, say=_say)
    return path


def _print_to(log: Path) -> None:
    """Let everything that this process prints go to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
