"""spkver export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from spkver.cli import outputs
from spkver.files import directory_place, file_place

FORMS = {".onnx": "onnx"}  # by the name of OUT
WEIGHTS = {"half": "float16", "int8": "int8"}  # options for how weights are kept


def _place(path: Path) -> Path:
    return (file_place if path.suffix in FORMS else directory_place)(path)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=outputs.Output(_place))
@click.option("--to", "form", help="The form, where the name of OUT does not say it.  [.onnx: onnx]")
@click.option("--waveform", is_flag=True, help="onnx: with fbank and CMN inside: waveform in.")
@click.option("--half", is_flag=True, help="onnx, model: float16 weights, half the size; computed with in float32.")
@click.option("--int8", is_flag=True, help="onnx: 8-bit integers by dynamic quantisation, a quarter of the size.")
@click.option("--sherpa", is_flag=True, help="onnx: refuse what sherpa-onnx would not compute alike.")
@click.option("--language", help="onnx: what sherpa-onnx is told.  [default: unknown]")
@click.option("--any-front-end", is_flag=True, help="wespeaker: though it will compute other features.")
@click.option("--chain", help="model: directory of `spkver transform fit` that embeddings go through.")
@click.option(
    "--tolerance",
    help="onnx: largest error, relative to the embedding's length.  [default: 1e-3; half: 0.02; int8: 0.2]",
)
def command(model: Path, out: Path, form: str | None, **options: Any) -> None:
    """The model directory MODEL for other runtimes: OUT.

    \b
    onnx: the network, features (batch, frames, bins) in, embeddings (batch, dim) out, with the
    metadata that sherpa-onnx wants; with --waveform the whole of it. It is run in onnxruntime at
    many lengths before it is kept, and compared with PyTorch's float32: the largest error and the
    lowest cosine of the embeddings are told. What int8 costs in EER: `spkver extract --model my.onnx`.

    \b
    wespeaker: the folder that WeSpeaker's tools load and `spkver import` reads, of networks that are
    theirs to the last field.

    \b
    model: a model directory again, with float16 weights, or with a chain of transforms (centre,
    whiten, pca, lda, wccn) behind the network, so that its embeddings have fewer dimensions.

    \b
    Example:
      spkver export exp/my/model my.onnx
      spkver export exp/my/model my-waveform.onnx --waveform
      spkver export exp/my/model my-folder --to wespeaker
      spkver export exp/my/model my-64 --to model --chain chain --half
    """
    from spkver.config import validate
    from spkver.encoder import load_model
    from spkver.errors import InputError
    from spkver.export import EXPORTS

    given = {option: value for option, value in options.items() if value}
    if "half" in given and "int8" in given:
        raise click.UsageError("--half or --int8, not both")
    name = form or FORMS.get(out.suffix)
    if name is None:
        raise InputError(f"{out}: the name does not say the form: end it in {', '.join(FORMS)}, or give --to")
    if model.is_file():
        raise InputError(f"{model}: a file; give the model directory")
    form_class = EXPORTS.get(name)
    keys: dict[str, Any] = {}
    for option, value in given.items():
        key, wanted = ("weights", WEIGHTS[option]) if option in WEIGHTS else (option, value)
        if not _takes(form_class.Config, key, wanted):
            raise InputError(f"{out}: --{option.replace('_', '-')} does not go with the form {name}; see --help")
        keys[key] = wanted
    config = validate(form_class.Config, keys)
    for line in form_class(config).write(load_model(model), out):
        click.echo(line)


def _takes(config: Any, key: str, value: Any) -> bool:
    """Whether a form has this key, and among its choices, where it has some, this value."""
    field = config.model_fields.get(key)
    return field is not None and (get_origin(field.annotation) is not Literal or value in get_args(field.annotation))
