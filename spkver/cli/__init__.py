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

# section of the help: {command: (module with a click command named `command`, one line of help)}
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Main commands": {
        "data": ("spkver.cli.data", "Check, split, join, cut and describe data directories."),
        "pack": ("spkver.cli.pack", "Pack the recordings of a data directory as 16-bit PCM."),
        "train": ("spkver.cli.train", "Train a speaker-embedding network from a YAML config."),
        "extract": ("spkver.cli.extract", "Extract embeddings of a data directory, audio pack or feature pack."),
        "score": ("spkver.cli.score", "Score a trial list, by cosine or PLDA."),
        "evaluate": ("spkver.cli.evaluate", "Compute EER and minDCF of scores."),
        "report": ("spkver.cli.report", "Report results as an HTML page, with tables and DET curves."),
        "threshold": ("spkver.cli.threshold", "Choose the decision threshold for an error rate or a cost."),
        "verify": ("spkver.cli.verify", "Decide whether two recordings have the same speaker."),
        "doctor": ("spkver.cli.doctor", "Check the installation: versions, device, what loads."),
    },
    "Data": {
        "features": ("spkver.cli.features", "Compute filterbank features of an audio pack."),
        "check-trials": ("spkver.cli.check_trials", "Check a trial list for errors and oddities."),
    },
    "Train": {
        "sweep": ("spkver.cli.sweep", "Train and compare several systems with several seeds."),
        "models": ("spkver.cli.models", "List networks: parameters, multiply-adds, speed."),
        "train-report": ("spkver.cli.train_report", "Show training curves, what looks wrong, and what to change."),
        "train-samples": ("spkver.cli.train_samples", "Show which training samples are hard, selected, mislabelled."),
        "curves": ("spkver.cli.curves", "Tabulate and plot the logs of training runs."),
        "average": ("spkver.cli.average", "Average the last checkpoints of a run."),
    },
    "Embed": {
        "cluster": ("spkver.cli.cluster", "Cluster recordings by voice, to train without labels."),
        "transform": ("spkver.cli.transform", "Learn and apply centring, whitening, PCA, LDA, WCCN, ..."),
    },
    "Score": {
        "score-all": ("spkver.cli.score_all", "Score every enrolment against every test utterance."),
        "plda": ("spkver.cli.plda", "Train and adapt PLDA models."),
        "normalise": ("spkver.cli.normalise", "Normalise scores with a cohort: Z-, T-, S-, adaptive S-norm."),
        "fuse": ("spkver.cli.fuse", "Fuse several systems to log-likelihood ratios."),
        "compare": ("spkver.cli.compare", "Compare systems: confidence intervals and paired tests."),
        "breakdown": ("spkver.cli.breakdown", "Break errors down by gender, duration, ... or speaker."),
    },
    "Decide": {
        "calibrate": ("spkver.cli.calibrate", "Convert scores to log-likelihood ratios."),
        "enrol": ("spkver.cli.enrol", "Add recordings of a person to the speaker book."),
        "identify": ("spkver.cli.identify", "Find which person of the speaker book speaks."),
        "speakers": ("spkver.cli.speakers", "List the people in the speaker book."),
        "serve": ("spkver.cli.serve", "Offer embeddings, decisions and the speaker book over HTTP."),
        "forget": ("spkver.cli.forget", "Remove people from the speaker book."),
        "book": ("spkver.cli.book", "Manage the speaker book: rename, export, back up, encrypt, ..."),
    },
    "Diarize": {
        "diarize": ("spkver.cli.diarize", "Find who speaks when in recordings."),
        "der": ("spkver.cli.der", "Compute the diarization error rate of turns (RTTM)."),
        "tune-diarization": ("spkver.cli.tune_diarization", "Choose the clustering of diarize on labelled recordings."),
    },
    "Many machines": {
        "gather": ("spkver.cli.gather", "Gather an output whose parts were made with --part."),
    },
    "Exchange": {
        "import": ("spkver.cli.import_model", "Convert a model of another toolkit to a model directory."),
        "export": ("spkver.cli.export", "Export a model to ONNX, a web page, Triton or WeSpeaker."),
        "convert": ("spkver.cli.convert", "Convert embeddings: Parquet, HDF5, npz, Kaldi, faiss, ..."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called; help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # completion in a shell
                return None
            raise click.UsageError(f"unknown command '{cmd_name}'{nearest(cmd_name, COMMANDS)}", ctx)
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                width = max(map(len, COMMANDS))
                formatter.write_dl([(f"{name:{width}}", text) for name, (_, text) in commands.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def root() -> None:
    """Speaker verification: from recordings to trial scores, error rates and embeddings.

    A path may be a URL (s3://, gs://, http://, https://): see docs/remote.md.

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
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2: a group without a command prints its help
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
    except OSError as error:  # for example a full disk, or no permission to write
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        _fail(name, f"{said}; make room, and run again" if error.errno in NO_ROOM else said, 1)
    sys.exit(code if isinstance(code, int) else 0)  # click returns the code of ctx.exit()


def _fail(name: str, message: str, code: int) -> NoReturn:
    click.echo(f"{name}: error: {' '.join(message.split())}", err=True)
    sys.exit(code)
