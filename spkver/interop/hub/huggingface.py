"""Models on the Hugging Face hub, in the cache of `huggingface_hub`. HF_ENDPOINT and HF_HOME work as usual."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from spkver.errors import InputError, RunError, load_optional
from spkver.files import sha256
from spkver.interop.hub.files import README, SUFFIXES, UNUSED, Published, licence

EXTRA = "hub"
NAME = re.compile(r"(?:https?://(?:www\.)?huggingface\.co/)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/?(?:@[\w./-]+)?")


class HuggingFace:
    """OWNER/NAME, also with @REVISION, or the address of the page of a model."""

    @staticmethod
    def recognises(name: str) -> bool:
        """Two words with a slash between them."""
        return NAME.fullmatch(name) is not None

    @staticmethod
    def fetch(name: str, revision: str, offline: bool) -> Published:
        """Download the files of a model and compare them with the checksums of the hub."""
        hub = load_optional("huggingface_hub", EXTRA)
        match = NAME.fullmatch(name)
        plain = match[1] if match else name
        endpoint = os.environ.get("HF_ENDPOINT") or None  # the package reads it only when it is imported
        address = f"{endpoint or 'https://huggingface.co'}/{plain}"
        errors = load_optional("huggingface_hub.errors", EXTRA)
        try:
            folder = Path(
                hub.snapshot_download(
                    plain,
                    revision=revision or None,
                    endpoint=endpoint,
                    cache_dir=os.environ.get("HF_HUB_CACHE") or None,
                    allow_patterns=[README, *(f"*{suffix}" for suffix in SUFFIXES)],
                    ignore_patterns=["*/*", *UNUSED],
                    local_files_only=offline,
                )
            )
        except errors.GatedRepoError as error:
            raise InputError(
                f"{plain}: its authors ask for conditions to be accepted: log in and accept them at {address}, "
                "then run `hf auth login` here"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise InputError(
                f"{plain}: no such file or directory, and no public model of this name at {address}; check the name "
                "(for a private model run `hf auth login`)"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise InputError(f"{plain}: no revision '{revision}'; see {address}/commits/main") from error
        except errors.LocalEntryNotFoundError as error:
            if offline:
                raise InputError(f"{plain}: not downloaded yet; run it once with a network connection") from error
            raise RunError(
                f"{plain}: no such file or directory, and {address} cannot be reached ({_reason(error)})"
            ) from error
        except errors.HFValidationError as error:
            raise InputError(f"{plain}: no such file or directory, and not a name of a model ({error})") from error
        except (errors.HfHubHTTPError, OSError, RuntimeError) as error:
            raise RunError(f"{address}: the download failed ({_reason(error)}); run it again to resume") from error
        checked = _check(folder, plain)
        return Published(folder, plain, address, folder.name, licence(folder), checked)


def _reason(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _check(folder: Path, name: str) -> str:
    """Compare the files with their checksums, which are the names of the blobs in the cache.

    Raises RunError for a file that differs, and removes it.
    """
    count = 0
    for link, blob in _blobs(folder):
        found = sha256(blob) if len(blob.name) == 64 else _git_hash(blob)
        if found != blob.name:
            blob.unlink()
            link.unlink()
            raise RunError(
                f"{name}: {link.name} is damaged: checksum {found}, published {blob.name}; it was removed, run it again"
            )
        count += 1
    if not count:
        return "not checked: this file system has no links, so the cache has no checksums"
    return f"{count}, equal to the checksums of the hub"


def _blobs(folder: Path) -> Iterator[tuple[Path, Path]]:
    for link in sorted(folder.iterdir()):
        if link.is_symlink() and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", link.resolve().name):
            yield link, link.resolve()


def _git_hash(file: Path) -> str:
    """The hash that git gives a file; small files have no other checksum on the hub."""
    content = file.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()
