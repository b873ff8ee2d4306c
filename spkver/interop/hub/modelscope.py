"""Models on ModelScope: a listing with sizes and checksums, and the files."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spkver.download import fetch_file
from spkver.errors import InputError, RunError
from spkver.files import read_json, sha256, write_json
from spkver.interop.hub.catalogue import PINNED
from spkver.interop.hub.files import Published, cache, licence, slug, wanted

ENDPOINT = "https://www.modelscope.cn"
OWNERS = ("iic", "damo")
NAME = re.compile(r"https?://(?:www\.)?modelscope\.cn/models/([\w.-]+/[\w.-]+)(?:/(?:summary|files))?/?")
RECORD = "published.json"


class ModelScope:
    """iic/NAME, also with @REVISION, or the address of the page of any model."""

    @staticmethod
    def recognises(name: str) -> bool:
        """A name of an owner who publishes there, or an address."""
        owner, _, rest = name.partition("/")
        return NAME.fullmatch(name) is not None or (owner in OWNERS and bool(rest))

    @staticmethod
    def fetch(name: str, revision: str, offline: bool) -> Published:
        """Download the files of a model and compare them with the listing."""
        match = NAME.fullmatch(name)
        plain = match[1] if match else name
        revision = revision or PINNED.get(plain, "master")
        folder = cache() / "downloads" / slug(f"{plain}@{revision}")
        record = folder / RECORD
        if not offline:
            files = _listing(plain, revision)
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                _download(plain, revision, file, folder)
            write_json(record, {"files": files})
        if not record.is_file():
            raise InputError(f"{plain}: not downloaded yet; run it once with a network connection")
        checked = f"{len(read_json(record)['files'])}, equal to the checksums of ModelScope"
        return Published(folder, plain, f"{ENDPOINT}/models/{plain}", revision, licence(folder), checked)


def answer(url: str, advice: str) -> Any:
    """The `Data` of an answer of the API. Raises RunError for an answer of another form."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "answer.json"
        fetch_file(url, file, advice)
        try:
            found = read_json(file)
        except InputError as error:
            raise RunError(f"{url}: not the expected answer ({error}); try again later") from error
    if not isinstance(found, dict) or found.get("Code", 200) != 200 or "Data" not in found:
        said = found.get("Message", "no data") if isinstance(found, dict) else "no data"
        raise RunError(f"{url}: {said}; {advice}")
    return found["Data"]


def _listing(name: str, revision: str) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of the files of a model."""
    advice = f"check the name and revision at {ENDPOINT}/models/{name}"
    data = answer(f"{ENDPOINT}/api/v1/models/{name}/repo/files?Revision={quote(revision)}&Recursive=False", advice)
    files = data.get("Files") if isinstance(data, dict) else None
    if not isinstance(files, list):
        raise RunError(f"{name}: ModelScope lists no files; {advice}")
    return [
        {"Path": str(file["Path"]), "Size": file.get("Size"), "Sha256": file.get("Sha256")}
        for file in files
        if file.get("Type") != "tree" and wanted(str(file.get("Path", "")))
    ]


def _download(name: str, revision: str, file: dict[str, Any], folder: Path) -> None:
    """Download one file, unless it is there. Raises RunError if it differs from the listing, and removes it."""
    target = folder / file["Path"]
    if target.is_file() and sha256(target) != file["Sha256"]:  # of an older state of the revision
        target.unlink()
    url = f"{ENDPOINT}/api/v1/models/{name}/repo?Revision={quote(revision)}&FilePath={quote(file['Path'])}"
    size = fetch_file(url, target, f"see the files at {ENDPOINT}/models/{name}")
    found = sha256(target)
    if (size, found) != (file["Size"], file["Sha256"]):
        target.unlink()
        raise RunError(
            f"{name}: {target.name} is damaged: {size} bytes with sha256 {found}, published {file['Size']} bytes with "
            f"{file['Sha256']}; it was removed, run it again"
        )
