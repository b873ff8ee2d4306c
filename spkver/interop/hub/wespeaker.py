"""WeSpeaker's archives: `wenet/voxceleb_resnet34_LM` is an archive of that name in its data set on ModelScope."""

from __future__ import annotations

from spkver.errors import InputError, nearest
from spkver.interop.hub import modelscope
from spkver.interop.hub.catalogue import licence_of
from spkver.interop.hub.files import Published, cache, first_use, slug
from spkver.interop.hub.url import ARCHIVES, download, unpacked

DATASET = "wenet/wespeaker_pretrained_models"


class WeSpeakerArchives:
    """wenet/NAME, where NAME is an archive with or without its suffix."""

    @staticmethod
    def recognises(name: str) -> bool:
        """A name of the owner."""
        owner, _, rest = name.partition("/")
        return owner == "wenet" and bool(rest) and "/" not in rest

    @staticmethod
    def fetch(name: str, revision: str, offline: bool) -> Published:
        """Find the archive in the listing, download and unpack it."""
        folder, wanted = cache() / "downloads" / slug(name), name.partition("/")[2]
        known = [file for file in folder.glob("*") if file.name.endswith(ARCHIVES)]
        if not known:
            if offline:
                raise InputError(f"{name}: not downloaded yet; run it once with a network connection")
            address = f"{modelscope.ENDPOINT}/api/v1/datasets/{DATASET}/oss/tree"
            listed = modelscope.answer(address, "try again later")
            urls = {str(one["Key"]): str(one["Url"]) for one in listed if str(one.get("Key", "")).endswith(ARCHIVES)}
            names = {_stem(key): key for key in urls}
            if _stem(wanted) not in names:
                raise InputError(f"{name}: WeSpeaker publishes no such archive{nearest(_stem(wanted), names)}")
            key = names[_stem(wanted)]
            known = [folder / key.rpartition("/")[2]]
            download(urls[key], known[0], offline)
        page = f"https://modelscope.cn/datasets/{DATASET}"
        return Published(unpacked(known[0]), name, page, "", licence_of(name), first_use(known[0]))


def _stem(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in ARCHIVES if name.endswith(suffix)), name)
