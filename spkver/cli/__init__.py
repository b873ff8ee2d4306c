"""The command line: parse, call, print. Each command is a module that is imported when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from spkver import __version__
from spkver.cli.terminal import visible_streams
from spkver.errors import SpkverError, nearest
from spkver.files import NO_ROOM

# command: (module holding a click command named `command`, one line of help)
COMMANDS = {
    "data": ("spkver.cli.data", "Check, split, join, cut down and describe data directories."),
    "pack": ("spkver.cli.pack", "Pack the recordings of a data directory as 16-bit PCM."),
    "features": ("spkver.cli.features", "Filterbank features of an audio pack."),
    "models": ("spkver.cli.models", "The networks: parameters, multiply-adds, embeddings per second."),
    "train": ("spkver.cli.train", "Train a speaker-embedding network from a YAML config."),
    "train-report": ("spkver.cli.train_report", "How training runs went: curves, and in words what looks wrong."),
    "average": ("spkver.cli.average", "The mean of a run's last checkpoints as a model."),
    "extract": ("spkver.cli.extract", "Embeddings of a data directory, audio pack or feature pack."),
    "transform": (
        "spkver.cli.transform",
        "Centring, whitening, PCA, LDA, WCCN and length normalisation of embeddings.",
    ),
    "plda": ("spkver.cli.plda", "Learn and adapt PLDA models."),
    "score": ("spkver.cli.score", "Scores of a trial list: cosine or PLDA."),
    "score-all": ("spkver.cli.score_all", "Scores of every enrolment with every test utterance."),
    "normalise": ("spkver.cli.normalise", "Z-, T-, S- and adaptive S-norm of scores by a cohort."),
    "calibrate": ("spkver.cli.calibrate", "Scores as log-likelihood ratios."),
    "fuse": ("spkver.cli.fuse", "Several systems fused to log-likelihood ratios."),
    "evaluate": ("spkver.cli.evaluate", "EER and minDCF of scores against a trial list."),
    "compare": ("spkver.cli.compare", "How sure are the differences between systems?"),
    "curves": ("spkver.cli.curves", "Training curves and last values of one or more runs."),
    "breakdown": ("spkver.cli.breakdown", "Errors by gender, duration, session, ... and by speaker."),
    "check-trials": ("spkver.cli.check_trials", "What is odd about a trial list."),
    "threshold": ("spkver.cli.threshold", "The decision threshold for a wished error rate or cost."),
    "verify": ("spkver.cli.verify", "Do two recordings hold the same speaker?"),
    "enrol": ("spkver.cli.enrol", "Add recordings of a person to the speaker book."),
    "identify": ("spkver.cli.identify", "Who of the speaker book is heard, if anybody?"),
    "speakers": ("spkver.cli.speakers", "Who is in the speaker book."),
    "forget": ("spkver.cli.forget", "Take people out of the speaker book."),
    "convert": ("spkver.cli.convert", "Embeddings between Parquet, HDF5, npz, Kaldi, ...; means; indices."),
    "export": ("spkver.cli.export", "Models as ONNX, with or without the front end, checked against PyTorch."),
    "import": ("spkver.cli.import_model", "A model of another toolkit as a model directory."),
    "doctor": ("spkver.cli.doctor", "What this installation can do: versions, device, what loads, free space."),
    "report": ("spkver.cli.report", "One HTML page of results, or a table and DET curves."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called; help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes a line
                return None
            raise click.UsageError(f"unknown command '{cmd_name}'{nearest(cmd_name, COMMANDS)}", ctx)
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def root() -> None:
    """Speaker verification: from recordings to trial scores, error rates and embeddings.

    Example: spkver verify a.wav b.wav
    """


def main() -> NoReturn:
    """The command `spkver`."""
    run(root, "spkver")


def run(command: click.Command, name: str) -> NoReturn:
    """Run a command; a user's mistake is one line on standard error and exit code 2, a failure is 1."""
    with visible_streams():
        _run(command, name)


def _run(command: click.Command, name: str) -> NoReturn:
    try:
        code = command(prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2: no error, help was asked for by saying nothing
            error.show()
            sys.exit(2)
        where = error.ctx.command_path if error.ctx else name
        message = error.format_message().rstrip(".")
        _fail(name, f"{message[:1].lower()}{message[1:]} (see '{where} --help')", 2)
    except click.ClickException as error:
        _fail(name, error.format_message(), 2)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except SpkverError as error:
        _fail(name, str(error), error.exit_code)
    except OSError as error:  # a disk that is full, a place that is not ours to write to
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        _fail(name, f"{said}; make room, and run again" if error.errno in NO_ROOM else said, 1)
    sys.exit(code if isinstance(code, int) else 0)  # click gives back the code of ctx.exit()


def _fail(name: str, message: str, code: int) -> NoReturn:
    click.echo(f"{name}: error: {' '.join(message.split())}", err=True)
    sys.exit(code)
