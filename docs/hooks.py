"""What the site has beyond docs/: README.md as its first page, the READMEs that pages link to, a page for each command,
and one with all keys of a config.

Links are written as they work in the repository; here they are pointed at the pages of the site.
"""

from __future__ import annotations

import html
import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from spkver.augment import CODECS, FEATURES, WAVEFORM
from spkver.cli import COMMANDS, SECTIONS
from spkver.config import Config
from spkver.explain import keys, summary
from spkver.features import FRONT_ENDS, VADS
from spkver.losses import HEADS, LOSSES, MARGINS, REDUCTIONS, SELECTORS, WEIGHTINGS
from spkver.models import MODELS, POOLINGS
from spkver.recipe.schema import Recipe
from spkver.registry import Registry
from spkver.schedules import SCHEDULES
from spkver.sweep.schema import SearchConfig, Sweep, SystemConfig, TestConfig
from spkver.training.optim import OPTIMIZERS

COMPONENTS = (
    *(FRONT_ENDS, VADS, MODELS, POOLINGS, LOSSES, HEADS, REDUCTIONS, MARGINS, SELECTORS, WEIGHTINGS),
    *(WAVEFORM, CODECS, FEATURES, OPTIMIZERS, SCHEDULES),
)
ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # the target of a link within the repository, without its anchor


def on_config(config: MkDocsConfig) -> None:
    """Add the commands to the navigation, in the sections of `spkver --help`."""
    pages = [{title: [{name: f"commands/{name}.md"} for name in section]} for title, section in SECTIONS.items()]
    config.nav.append({"Commands": pages})  # type: ignore[union-attr]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from outside docs/."""
    for name in COMMANDS:
        command = importlib.import_module(COMMANDS[name][0]).command
        content = "\n\n".join([f"---\ntitle: {name}\n---", *_help(f"spkver {name}", command)])
        files.append(File.generated(config, f"commands/{name}.md", content=content))
    files.append(File.generated(config, "keys.md", content="\n\n".join(_keys())))
    files.append(_outside(config, "README.md"))
    for path in _linked_from("README.md", *(f"docs/{file.src_uri}" for file in files.documentation_pages())):
        files.append(_outside(config, path))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page at the pages of the site."""
    source = _repository_path(page.file)
    here = posixpath.dirname(page.file.src_uri)

    def target(link: re.Match[str]) -> str:
        return posixpath.relpath(_site_path(_resolve(source, link[1])), here)

    return LINK.sub(target, markdown)


def _help(name: str, command: click.Command, level: str = "#") -> Iterator[str]:
    """The help of a command and its subcommands, as blocks of Markdown."""
    context = click.Context(command, info_name=name)
    yield f"{level} {name}"
    yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        text = inspect.cleandoc(paragraph.removeprefix("\b\n"))
        if not paragraph.startswith("\b\n"):
            yield _plain(text)
        elif text.startswith("Example:"):
            lines = [line.replace("Example:", "").strip() for line in text.splitlines()]
            yield "```sh\n" + "\n".join(filter(None, lines)) + "\n```"
        else:  # a table or a file, which click does not wrap
            yield f"```text\n{text}\n```"
    options = [one for one in command.params if isinstance(one, click.Option)]
    rows = [_row(*record) for option in options if (record := option.get_help_record(context))]
    if rows:
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            yield from _help(f"{name} {subcommand.name}", subcommand, level + "#")


def _keys() -> Iterator[str]:
    """All keys of a training config and of its components, as blocks of Markdown."""
    yield "# Keys of a config"
    yield "`spkver train CONFIG --explain KEY` explains a key in a terminal. The components follow below."
    yield from _keys_of(Recipe)
    for registry in COMPONENTS:
        yield f"## {registry.kind}"
        configs: dict[type[Config], list[str]] = {}
        for name in registry:
            configs.setdefault(registry.get(name).Config, []).append(name)
        for schema, names in configs.items():
            yield f"### {', '.join(names)}"
            yield _plain(summary(schema))
            yield from _keys_of(schema)
        yield from _presets_of(registry)
    yield "## sweep"
    for schema in (Sweep, SystemConfig, SearchConfig, TestConfig):
        yield f"### {schema.__name__}"
        yield _plain(summary(schema))
        yield from _keys_of(schema)


def _keys_of(schema: type[Config]) -> Iterator[str]:
    rows = [
        _row(key, "; ".join(filter(None, [text.rstrip("."), facts])))
        for key, text, facts in keys(schema)
        if key != "name"
    ]
    if rows:
        yield "\n".join(["| key | meaning |", "|---|---|", *rows])


def _presets_of(registry: Registry) -> Iterator[str]:
    rows = [_row(name, f"`{_flow(preset)}`") for name, preset in registry.presets.items()]
    if rows:
        yield "\n".join(["| preset | sets |", "|---|---|", *rows])


def _flow(value: object) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


def _plain(text: str) -> str:
    """Text in which `words` are code and no other character is Markdown's."""
    parts = text.split("`")
    return "`".join(part if number % 2 else re.sub(r"([*_\[])", r"\\\1", part) for number, part in enumerate(parts))


def _row(option: str, meaning: str) -> str:
    cells = f"<code>{html.escape(option)}</code>", _plain(" ".join(meaning.split()))
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"


def _linked_from(*paths: str) -> Iterator[str]:
    """Files outside docs/ that these pages link to, and the pages that those link to."""
    seen, todo = {"README.md"}, list(paths)
    while todo:
        source = todo.pop()
        if not source.endswith(".md") or not (ROOT / source).is_file():
            continue
        for link in LINK.findall((ROOT / source).read_text(encoding="utf-8")):
            path = _resolve(source, link)
            if path not in seen and not path.startswith("docs/") and (ROOT / path).is_file():
                seen.add(path)
                todo.append(path)
                yield path


def _outside(config: MkDocsConfig, path: str) -> File:
    return File.generated(config, _site_path(path), abs_src_path=str(ROOT / path))


def _repository_path(file: File) -> str:
    if file.generated_by is None:
        return f"docs/{file.src_uri}"
    return "README.md" if file.src_uri == "index.md" else file.src_uri


def _site_path(path: str) -> str:
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _resolve(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
