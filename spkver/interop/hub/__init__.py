"""Published models by name: OWNER/NAME on the Hugging Face hub or on ModelScope, or the URL of a file.

A source is a class with two static methods: `recognises(name)` tells whether it handles a name, and
`fetch(name, revision, offline)` downloads the files of a model, checks them and returns them as a `Published`.
Downloaded files and converted models are kept in `cache()`. The module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath, locked
from spkver.interop.hub.files import Published, cache, slug
from spkver.registry import Registry
from spkver.storage import located

SOURCES = Registry(
    "source of models",
    {
        "wespeaker": "spkver.interop.hub.wespeaker:WeSpeakerArchives",
        "modelscope": "spkver.interop.hub.modelscope:ModelScope",
        "huggingface": "spkver.interop.hub.huggingface:HuggingFace",
        "url": "spkver.interop.hub.url:Url",
    },
)
# the toolkit of an owner's models, because some files do not say with which front end they were trained
TOOLKITS = {"iic": "3dspeaker", "damo": "3dspeaker", "Wespeaker": "wespeaker", "wenet": "wespeaker"}


def is_name(text: StrPath) -> bool:
    """Whether a text is the name of a published model, and not a path: nothing on this disk begins like it."""
    name = str(text)
    on_disk = Path(Path(name).parts[0]).exists() if name else True
    return not on_disk and any(SOURCES.get(one).recognises(name) for one in SOURCES)


def fetch(name: str, *, offline: bool = False) -> Published:
    """Download a model, or find it in the cache.

    name: OWNER/NAME, OWNER/NAME@REVISION or a URL; offline: use downloaded files only
    Raises InputError for unknown names, models with conditions to accept, and models that are not in the cache when
    offline; RunError if the download fails or a checksum differs.
    """
    source = next(SOURCES.get(one) for one in SOURCES if SOURCES.get(one).recognises(name))
    plain, _, revision = name.partition("@") if "://" not in name else (name, "", "")
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    found: Published = source.fetch(plain, revision, offline)
    return found


def local(path: StrPath, *, offline: bool = False, say: Callable[[str], None] = lambda line: None) -> Path:
    """The model directory of a published model, or the path or URL itself if it is not the name of one.

    A model is downloaded and converted when its name is first used, and kept: later uses need no network and give the
    same model. say: receives messages about the download
    Raises the errors of `fetch` and `import_model`.
    """
    if not is_name(path):
        return located(path)
    name = str(path)
    place = cache() / "models" / slug(name)
    with locked(place.parent, patience=3600, say=say):
        if not place.exists():
            for line in convert(name, place, offline=offline):
                say(line)
    return place


def convert(
    name: str, out: StrPath, toolkit: str | None = None, front_end: str | None = None, *, offline: bool = False
) -> list[str]:
    """Download a published model and convert it to the model directory `out`. Returns messages for the user.

    Arguments and errors are those of `fetch` and `import_model`.
    """
    if Path(out).exists():
        raise InputError(f"{out}: exists already; remove it or choose another path")
    found = fetch(name, offline=offline)
    from spkver.interop.peers import import_model  # imports torch

    toolkit = toolkit or TOOLKITS.get(name.partition("/")[0])
    said = import_model(found.path, out, toolkit, front_end, published=found.lines())
    return [*found.lines(), *said]
