"""The same on a server of Google Cloud Storage's kind: `gs://`, through gcsfs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError, RunError
from spkver.files import atomic_file
from spkver.packs import Pack, PackWriter
from spkver.storage import Url, access, cache, located, upload

from .conftest import Server, clear

pytest.importorskip("gcsfs")
emulator = pytest.importorskip("gcp_storage_emulator.server")


@pytest.fixture
def gs(web: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with an empty bucket `bucket`, behind a web server that can fail."""
    import gcsfs

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    made = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    made.start()
    web.forward = "http://{}:{}".format(*made._api._httpd.server_address[:2])
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", web.address)
    yield web
    gcsfs.GCSFileSystem.clear_instance_cache()
    made.stop()


def test_packs_embeddings_and_folders(gs: Server, tmp_path: Path) -> None:
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000, rows_per_shard=4) as pack:
        for row in range(10):
            pack.add(f"u{row}", "s", "", np.arange(9000 + row, dtype="<i2"))
    upload.put([(tmp_path / "p", Url("gs://bucket/pack"))], "pack.json")
    clear()
    local, remote = Pack.open(tmp_path / "p"), Pack.open("gs://bucket/pack")
    for row in (9, 0, 5):
        np.testing.assert_array_equal(remote[row], local[row])
    assert remote.ids == local.ids and access.files_below(Url("gs://bucket/pack"))[0] == "pack.json"
    write_embeddings("gs://bucket/e/x.parquet", Embeddings(["a"], np.float32([[1, 2]])))
    assert read_embeddings("gs://bucket/e/x.parquet").ids == ["a"]
    write_embeddings("gs://bucket/e/x.parquet", Embeddings(["b"], np.float32([[1, 2]])))  # replaced
    assert read_embeddings("gs://bucket/e/x.parquet").ids == ["b"]
    assert Url("gs://bucket/e").is_dir() and not Url("gs://bucket/none").exists()
    access.delete(Url("gs://bucket/e/x.parquet"))
    assert access.names(Url("gs://bucket/pack")) == [path.name for path in sorted((tmp_path / "p").iterdir())]


@pytest.mark.parametrize("fault", [503, "cut", "short", "slow"])
def test_passing_faults(gs: Server, fault: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ANSWER_SECONDS", 0.3)
    url = located("gs://bucket/a/list.txt")
    content = bytes(range(256)) * 300
    with atomic_file(url) as part:
        part.write_bytes(content)
        gs.faults = [fault, None, fault]
    clear()
    gs.faults = [fault, None, fault, fault]
    assert url.read_bytes() == content
    clear()
    url.stat()
    cache.discard(next(cache.folder().glob("*/list.txt")))
    gs.faults = [fault] * 30
    with pytest.raises(RunError, match=r"^gs://bucket/a/list\.txt: cannot be read: .*, 6 times"):
        url.read_bytes()


def test_lasting_faults_are_one_line(gs: Server) -> None:
    with atomic_file("gs://bucket/a") as part:
        part.write_bytes(b"content")
    clear()
    Url("gs://bucket/a").stat()
    for status, words in ((401, "does not accept the credentials"), (403, "access denied")):
        gs.faults = [status] * 4
        with pytest.raises(InputError, match=f"^gs://bucket/a: cannot be read: .*{words}") as caught:
            Url("gs://bucket/a").read_bytes()
        assert "secret" not in str(caught.value)
        gs.faults = []
    with pytest.raises(InputError, match="there is no bucket gs://other"), atomic_file("gs://other/a"):
        raise AssertionError("the work began")


def test_expired_credentials(gs: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.exceptions import RefreshError

    def expired(*_: object, **__: object) -> None:
        raise RefreshError("invalid_grant: secret has expired")

    monkeypatch.setattr(access._filesystem("gs"), "cat_file", expired)
    with pytest.raises(InputError, match=r"^gs://bucket/a: cannot be read: the credentials have expired") as caught:
        access.read(Url("gs://bucket/a"), 0, 9)
    assert "secret" not in str(caught.value)
