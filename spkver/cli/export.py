"""spkver export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from spkver.cli import outputs
from spkver.cli.options import MODEL, local
from spkver.export import EXPORTS
from spkver.files import directory_place, file_place

FORMS = {".onnx": "onnx", ".html": "page"}  # suffix of OUT: format
WEIGHTS = {"half": "float16", "int8": "int8"}  # option: type of the stored weights
OWN = "options of the format"


class _Command(click.Command):
    """The command with the options of the format that --to names: the fields of its config that have none below.

    Plain help does not import the formats.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[OWN] = _own_options(args, {parameter.name for parameter in self.params})
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(OWN, [])]


def _own_options(args: list[str], known: set[str | None]) -> list[click.Option]:
    named = [args[place + 1] for place, word in enumerate(args[:-1]) if word == "--to"]
    named += [word.removeprefix("--to=") for word in args if word.startswith("--to=")]
    if not named:
        return []
    fields = EXPORTS.get(named[0]).Config.model_fields
    return [
        click.Option(
            [f"--{key.replace('_', '-')}"], is_flag=field.annotation is bool, help=f"{named[0]}: {field.description}."
        )
        for key, field in fields.items()
        if key not in {"name", "weights", *known}
    ]


def _place(path: Path) -> Path:
    return (file_place if path.suffix else directory_place)(path)


@click.command(cls=_Command)
@click.argument("model", type=MODEL, metavar="MODEL")
@click.argument("out", type=outputs.Output(_place))
@click.option("--to", "form", help=f"Format: {', '.join(EXPORTS)}.  [default: onnx for OUT.onnx, page for OUT.html]")
@click.option("--waveform", is_flag=True, help="onnx: include fbank and CMN; the input is the waveform.")
@click.option(
    "--half", is_flag=True, help="onnx, model, triton: store float16 weights, half the size; compute in float32."
)
@click.option(
    "--int8", is_flag=True, help="onnx, triton: dynamic quantisation to 8-bit integers, a quarter of the size."
)
@click.option("--sherpa", is_flag=True, help="onnx: refuse a front end that sherpa-onnx computes differently.")
@click.option("--language", help="onnx: language in the metadata for sherpa-onnx.  [default: unknown]")
@click.option("--any-front-end", is_flag=True, help="wespeaker: export even if WeSpeaker computes other features.")
@click.option("--chain", help="model: append the transforms in this directory (`spkver transform fit`).")
@click.option(
    "--tolerance",
    help="onnx: largest accepted error relative to the embedding norm.  [default: 1e-3; half: 0.02; int8: 0.2]",
)
def command(model: str, out: Path, form: str | None, **options: Any) -> None:
    """Export the model directory MODEL to OUT for other runtimes.

    onnx: the network with the metadata that sherpa-onnx needs. Input: features (batch, frames, bins),
    or the waveform with --waveform. Output: embeddings (batch, dim). The file is first run in
    onnxruntime at many lengths and compared with PyTorch in float32; the largest error and the lowest
    cosine are printed. To measure the EER of an int8 model: `spkver extract --model my.onnx`.

    wespeaker: a folder that WeSpeaker's tools and `spkver import` read. Only for networks that
    WeSpeaker has with the same settings.

    model: a model directory with float16 weights, or with a chain of transforms (centre, whiten,
    pca, lda, wccn) after the network, for example to reduce the dimension.

    page: one HTML file that recognises voices in a browser, without a server. The model needs a stored threshold.

    triton: a model repository of NVIDIA's Triton Inference Server, with one model of the name OUT.

    `spkver export --to NAME --help` shows the options of other formats.

    \b
    Example:
      spkver export exp/my/model my.onnx
      spkver export exp/my/model my-waveform.onnx --waveform
      spkver export exp/my/model my-folder --to wespeaker
      spkver export exp/my/model my-64 --to model --chain chain --half
      spkver export exp/my/model voices.html
    """
    from spkver.config import validate
    from spkver.encoder import Encoder
    from spkver.errors import InputError

    given = {option: value for option, value in options.items() if value}
    if "half" in given and "int8" in given:
        raise click.UsageError("give --half or --int8, not both")
    name = form or FORMS.get(out.suffix)
    if name is None:
        raise InputError(f"{out}: unknown format: use a name that ends in {', '.join(FORMS)}, or give --to")
    place = local(model)
    if place.is_file():
        raise InputError(f"{model} is a file: give the model directory")
    form_class = EXPORTS.get(name)
    keys: dict[str, Any] = {}
    for option, value in given.items():
        key, wanted = ("weights", WEIGHTS[option]) if option in WEIGHTS else (option, value)
        if not _takes(form_class.Config, key, wanted):
            raise InputError(f"{out}: --{option.replace('_', '-')} does not apply to --to {name}; see --help")
        keys[key] = wanted
    config = validate(form_class.Config, keys)
    for line in form_class(config).write(Encoder.open(place), out):
        click.echo(line)


def _takes(config: Any, key: str, value: Any) -> bool:
    """Whether a form's config has this key and, for a key with choices, allows this value."""
    field = config.model_fields.get(key)
    return field is not None and (get_origin(field.annotation) is not Literal or value in get_args(field.annotation))
