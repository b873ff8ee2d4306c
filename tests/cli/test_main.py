"""The command line as such: what it imports, how it ends."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import pkgutil
import signal
import subprocess
import sys
import time

import click
import pytest

import data_prep
from spkver import cli
from spkver.cli import COMMANDS, SECTIONS
from spkver.cli.terminal import visible_streams
from spkver.errors import InputError, RunError

HEAVY = ("torch", "torchaudio", "speechbrain", "librosa", "scipy", "matplotlib", "soundfile")
CHECK = """
import sys
from spkver.cli import root
try:
    root(sys.argv[1:], prog_name="spkver", standalone_mode=False)
finally:
    print("loaded:", *[name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "words", [[], ["data"], ["evaluate"], *([name] for name in COMMANDS if name not in ("data", "evaluate"))]
)
def test_help_imports_no_heavy_packages(words):
    script = CHECK.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script, *words, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "Usage: spkver" in done.stdout
    if words != ["data"]:
        assert "Example:" in done.stdout


def test_help_names_every_command(spkver):
    done = spkver("--help")
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout and text.split()[0] in done.stdout


def test_help_comes_in_sections_with_the_main_commands_first(spkver):
    lines = spkver("--help").stdout.splitlines()
    titles = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", *SECTIONS]
    assert list(SECTIONS) == [
        "Main commands",
        "Data",
        "Train",
        "Embed",
        "Score",
        "Decide",
        "Diarize",
        "Many machines",
        "Exchange",
    ]
    assert len(SECTIONS["Main commands"]) == 10
    assert len(COMMANDS) == sum(map(len, SECTIONS.values()))  # no command in two sections


def every_option():
    """The commands, subcommands and modules of data preparation with their options."""
    named = {name: cli.root.get_command(click.Context(cli.root), name) for name in COMMANDS}
    named |= {name: getattr(importlib.import_module(f"data_prep.{name}"), "command", None) for name in _modules()}
    for name, command in named.items():
        for one in [command, *(command.commands.values() if isinstance(command, click.Group) else [])]:
            for option in one.params if isinstance(one, click.Command) else []:
                yield f"{name} {one.name} {option.name}", option


def _modules():
    return [module.name for module in pkgutil.iter_modules(data_prep.__path__) if not module.ispkg]


def test_no_option_takes_a_number_that_is_none():
    found = {name: option.type for name, option in every_option() if isinstance(option.type, click.FloatRange)}
    assert len(found) > 20
    for name, kind in found.items():
        for text in ("nan", "inf", "-inf"):
            with pytest.raises(click.BadParameter):
                pytest.fail(f"{name}: {kind.convert(text, None, None)}")


def test_every_seed_is_one_of_all_generators():
    found = {name: option.type for name, option in every_option() if option.name == "seed"}
    assert len(found) > 5
    assert all((kind.min, kind.max) == (0, 2**31 - 1) for kind in found.values()), found


def test_every_command_can_be_imported():
    for name in COMMANDS:
        assert cli.root.get_command(click.Context(cli.root), name) is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_sentences_of_the_help_wrap(name):
    r"""Only examples, tables and files come after \b, which keeps click from wrapping a paragraph."""
    command = cli.root.get_command(click.Context(cli.root), name)
    for one in [command, *(command.commands.values() if isinstance(command, click.Group) else [])]:
        for paragraph in inspect.cleandoc(one.help).split("\n\n"):
            if paragraph.startswith("\b\n"):
                assert "Example:" in paragraph or "  " in paragraph, paragraph


@pytest.mark.parametrize("words", [["trian"], ["train"], ["train", "c.yaml", "--nonsense"], ["evaluate"]])
def test_wrong_use(words):
    done = subprocess.run([sys.executable, "-m", "spkver", *words], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("spkver: error: ") and line.endswith(" --help')")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'? (see 'spkver --help')"),
        (["evaluate"], "missing argument 'SCORES' (see 'spkver evaluate --help')"),
        (["data", "join", "--nonsense"], "no such option '--nonsense' (see 'spkver data join --help')"),
    ],
)
def test_messages_of_wrong_use(spkver, words, said):
    assert spkver(*words, code=2).stderr == f"spkver: error: {said}\n"


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (InputError("a.wav: silent"), 2, "spkver: error: a.wav: silent"),
        (RunError("loss"), 1, "spkver: error: loss"),
        (InputError("two\nlines"), 2, "spkver: error: two lines"),
        (PermissionError(13, "Permission denied", "/out"), 1, "spkver: error: /out: Permission denied"),
        (OSError(28, "No space left on device"), 1, "spkver: error: No space left on device; make room, and run again"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.UsageError("Bad."), 2, "spkver: error: bad (see 'spkver --help')"),
    ],
)
def test_exit_codes(capsys, failure, code, said):
    @click.command()
    def command():
        raise failure

    monkey = pytest.MonkeyPatch()
    monkey.setattr(sys, "argv", ["spkver"])
    with pytest.raises(SystemExit) as stop:
        cli.run(command, "spkver")
    monkey.undo()
    assert stop.value.code == code
    assert capsys.readouterr().err.strip().splitlines()[-1] == said


def test_closed_pipe_ends_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "spkver", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_ctrl_c_ends_with_130(tmp_path):
    """Ctrl-C during a command prints one word; the exit code is 130."""
    script = "import signal, time, click\nfrom spkver.cli import run\n"
    # a shell's background jobs, and so their children, are started with the signal ignored
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "@click.command()\ndef c():\n    print('ready', flush=True)\n    time.sleep(60)\nrun(c, 'spkver')"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip() == "interrupted"


STEERING = "a\x1b]0;title\x07b\x9bc\u202ed"
SHOWN = r"a\x1b]0;title\x07b\x9bc\u202ed"


def test_messages_escape_control_characters(spkver):
    """Messages contain file names and file contents."""
    assert f"{SHOWN}: " in spkver("verify", STEERING, STEERING, code=2).stderr


@pytest.mark.parametrize(("terminal", "shown"), [(True, SHOWN), (False, STEERING)])
def test_output_escapes_control_characters_on_terminals_only(monkeypatch, terminal, shown):
    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", out)
    with visible_streams():
        click.echo(f"{STEERING}\té\r\n", color=True)
        print("\udcff", end="")
    assert sys.stdout is out
    assert out.getvalue() == f"{shown}\té\r\n\n\\udcff"


def test_names_that_are_not_utf8_can_be_printed(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff")
    script = "import sys, click\nfrom spkver.cli import run\n"
    script += "@click.command()\n@click.argument('name')\ndef c(name):\n    click.echo(name)\nrun(c, 'spkver')"
    done = subprocess.run([sys.executable, "-c", script, name], capture_output=True)
    assert done.returncode == 0 and done.stdout.endswith(rb"/\udcff" + b"\n"), done.stderr
