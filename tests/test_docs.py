"""README.md and docs/: the commands run, one page after the other, and the site builds.

A block of `sh` or `python` runs unchanged, in a folder with recordings of a few voices; a block of YAML whose first
line is `# NAME.yaml` is written there first. A block after `<!-- not run: REASON -->` does not run. The commands of all
blocks, and of the READMEs of rooms and recipes, must be accepted by the parsers of the commands.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from spkver import audio
from spkver.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
OTHERS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("[!R]*.md", "spkver/**/*.md", "recipes/**/*.md")
    for path in ROOT.glob(pattern)
)
FENCED = re.compile(r"^(<!-- not run.*-->\n)?```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+")
# The one place that shortens what pages show: a small network, two steps, and no processes that load torch again.
SHELL = """
set -eu
pip() { :; }
spkver() {
  case $1 in
    train) set -- "$@" model.name=xvector model.channels=8 model.pooled_channels=16 model.dim=16 train.steps=2 \\
             train.batch_size=4 ;;
    pack | features) set -- "$@" --jobs 1 ;;
  esac
  command spkver "$@"
}
"""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for _, name, body in FENCED.findall(text) if name == language]


def blocks_to_run(page: str, languages: Collection[str]) -> list[tuple[str, str]]:
    """Language and content of the blocks of a page that run, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(name, body) for mark, name, body in FENCED.findall(text) if name in languages and not mark]


def commands(shell: str) -> Iterator[list[str]]:
    """The commands of the toolkit in lines of shell."""
    for line in shell.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # not shell
            continue
        for at, word in enumerate(words):
            module = words[at + 1 : at + 2] == ["-m"] and words[at + 2]
            if word == "spkver" and words[at - 1] != "-m":
                yield words[at:]
            elif word == "torchrun" and "spkver" in words:
                yield words[words.index("spkver") :]
            elif word == "python" and str(module).startswith("data_prep."):
                yield words[at + 2 :]


def written(page: str) -> Iterator[list[str]]:
    """The commands in the blocks of a page and in its sentences; the latter may be incomplete."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rest = FENCED.sub("", text)
    yield from commands("\n".join(blocks(page, "sh") + [textwrap.dedent(one) for one in INDENTED.findall(rest)]))
    for part in re.findall(r"`(spkver [^`]+)`", INDENTED.sub("", rest)):
        yield from commands(part.replace("\n", " ").replace("...", ""))


def examples(name: str, command: click.Command) -> Iterator[str]:
    """The examples in the help of a command and its subcommands."""
    yield (command.help or "").partition("Example:")[2].replace("Example:", "")
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            yield from examples(f"{name} {subcommand.name}", subcommand)


def parse(words: list[str]) -> None:
    """Raises click.UsageError for an unknown command or option, or a value of the wrong type."""
    name, *rest = [word.rstrip(";") for word in words]
    if name == "spkver":
        if not rest or rest[0].startswith("-") or rest[0].isupper():
            return
        name = COMMANDS[rest[0]][0] if rest[0] in COMMANDS else pytest.fail(f"no command {rest[0]}")
        rest = rest[1:]
    command: click.Command = importlib.import_module(name).command
    while isinstance(command, click.Group) and rest:
        command = command.commands.get(rest[0]) or pytest.fail(f"no command {' '.join(words)}")
        rest = rest[1:]
    context = click.Context(command)
    try:
        values, _, given = command.make_parser(context).parse_args(args=rest)
    except click.BadOptionUsage as error:
        if error.option_name == words[-1]:  # a sentence names an option without its value
            return
        raise
    for parameter in given:
        checked = isinstance(parameter, click.Option) and not parameter.is_eager  # --help exits
        if checked and not isinstance(parameter.type, click.Path):
            parameter.process_value(context, values[parameter.name])


@pytest.mark.parametrize("page", PAGES + OTHERS)
def test_commands_on_pages_parse(page: str) -> None:
    for words in written(page):
        parse_or_fail(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_parse(name: str) -> None:
    for text in examples(name, importlib.import_module(COMMANDS[name][0]).command):
        found = list(commands(text))
        assert found, text
        for words in found:
            parse_or_fail(words)


def parse_or_fail(words: list[str]) -> None:
    try:
        parse(words)
    except click.UsageError as error:
        pytest.fail(f"{' '.join(words)}: {error.format_message()}")


def test_commands_are_found_in_pages() -> None:
    assert len(list(written("README.md"))) >= 10
    assert ["spkver", "train", "my.yaml", "--out", "exp/my"] in list(written("docs/distributed.md"))
    assert ["data_prep.musan", "corpora", "data/musan", "--download"] in list(written("spkver/augment/README.md"))
    assert ["spkver", "score", "--enrolment", "spk2utt"] in list(written("docs/score.md"))


@pytest.mark.parametrize("line", ["pack a b --simulat", "pakc", "pack --jobs x", "data spilt", "pack a b --coding wav"])
def test_invalid_commands_do_not_parse(line: str) -> None:
    with pytest.raises((click.UsageError, pytest.fail.Exception)):
        parse(["spkver", *line.split()])


@pytest.fixture(scope="session")
def example(environment: Path, voice: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the example of README.md has run, from recordings to a report."""
    folder = tmp_path_factory.mktemp("example")
    for speaker in range(25):
        pieces = np.split(voice(90 + 6 * speaker, seconds=12.0), 8)
        (folder / "recordings" / f"speaker{speaker}").mkdir(parents=True)
        for number, piece in enumerate(pieces):
            audio.write(folder / f"recordings/speaker{speaker}/{number}.wav", piece, 16000)
    for name, source in (("a", "speaker1/0"), ("b", "speaker1/1")):
        shutil.copy(folder / f"recordings/{source}.wav", folder / f"{name}.wav")
    run_page("README.md", folder, environment)
    assert (folder / "report.html").is_file()
    return folder


def run_page(page: str, folder: Path, environment: Path) -> None:
    """Run the blocks of a page in a folder, each in a shell that stops at the first error."""
    for body in blocks(page, "yaml"):
        if name := re.match(r"# (\w+\.yaml)\n", body):
            (folder / name[1]).write_text(body, encoding="utf-8")
    settings = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "XDG_DATA_HOME": str(folder / "home")}
    run = {"sh": ["bash", "-c"], "python": [sys.executable, "-c"]}
    for language, body in blocks_to_run(page, run):
        words = [*run[language], SHELL + body if language == "sh" else body]
        done = subprocess.run(words, cwd=folder, env=os.environ | settings, capture_output=True, text=True)
        assert done.returncode == 0, f"{page}:\n{body}{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks_to_run(page, ["sh"])])
def test_commands_run(page: str, example: Path, environment: Path, tmp_path: Path) -> None:
    shutil.copytree(example, tmp_path / "copy")
    run_page(page, tmp_path / "copy", environment)


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    """In strict mode, where a broken link or anchor is an error."""
    pytest.importorskip("mkdocs", reason="pip install 'spkver[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="train.html"' in index and 'href="spkver/start/card.html"' in index
    for name in COMMANDS:
        page = (tmp_path / "commands" / f"{name}.html").read_text(encoding="utf-8")
        assert f"spkver {name}" in page
    keys = (tmp_path / "keys.html").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "spkver").rglob("*.py"))
    without = {"toolkit", "source of models", "export format", "clustering"}  # no keys in the config of a training
    kinds = set(re.findall(r'Registry\(\s*"([\w ]+)"', code)) - without
    assert len(kinds) > 10
    assert {kind for kind in kinds if f'{kind}<a class="headerlink"' not in keys} == set()
    assert "train.optimizer" in keys and "share of the average that is kept at each step" in keys
    assert "--max-rejected" in (tmp_path / "commands" / "pack.html").read_text(encoding="utf-8")
