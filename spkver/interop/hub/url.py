"""Models in one file or archive at a URL: releases on GitHub, archives of folders."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from spkver import archives
from spkver.download import base_name, fetch_file
from spkver.errors import InputError, RunError
from spkver.files import atomic_directory, sha256
from spkver.interop.hub.catalogue import licence_of
from spkver.interop.hub.files import SUFFIXES, Published, cache, first_use, slug

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")


class Url:
    """A URL; `#sha256=...` at its end is the expected checksum."""

    @staticmethod
    def recognises(name: str) -> bool:
        """http or https, and the name of a checkpoint or archive. Other URLs are model directories or .onnx files."""
        parts = urlsplit(name)
        return parts.scheme in ("https", "http") and parts.path.endswith((*SUFFIXES, *ARCHIVES))

    @staticmethod
    def fetch(name: str, revision: str, offline: bool) -> Published:
        """Download a file. Without a given checksum, that of the first download is stated on the card."""
        url, _, fragment = name.partition("#")
        expected = DIGEST.fullmatch(fragment)
        if fragment and expected is None:
            raise InputError(f"{name}: after # expected sha256= and 64 hexadecimal digits")
        file = cache() / "downloads" / slug(url) / (base_name(url) or "model")
        download(url, file, offline)
        checked = first_use(file)
        if expected is not None:
            if (found := sha256(file)) != expected[1].lower():
                file.unlink()
                raise RunError(f"{url}: sha256 is {found}, expected {expected[1]}; the file was removed")
            checked = f"{file.name}, sha256 as given: {found}"
        return Published(unpacked(file), url, url, "", licence_of(url), checked)


def download(url: str, file: Path, offline: bool) -> None:
    """Download a file, unless it is there. Raises InputError if it is not there when offline."""
    if not file.is_file():
        if offline:
            raise InputError(f"{url}: not downloaded yet; run it once with a network connection")
        file.parent.mkdir(parents=True, exist_ok=True)
        fetch_file(url, file, "check the address")


def unpacked(file: Path) -> Path:
    """The file, or for an archive the folder with its content. Members cannot be written outside that folder."""
    if not file.name.endswith(ARCHIVES):
        return file
    folder = file.with_name(f"{file.name}.unpacked")
    if not folder.is_dir():
        with atomic_directory(folder) as part, file.open("rb") as stream, archives.reading(file):
            for member, size, content in archives.members(stream, file.name):
                archives.put(content, archives.place(part, member, str(file)), size)
    while len(inside := [one for one in folder.iterdir() if not one.name.startswith(".")]) == 1 and inside[0].is_dir():
        folder = inside[0]
    return folder
