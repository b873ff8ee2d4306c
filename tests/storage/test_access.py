"""Files by URL: reading with faults, and errors of one line without credentials."""

from __future__ import annotations

import os
import pickle

import pytest

from spkver.errors import InputError, RunError, redacted
from spkver.storage import Url, access, cache, located

from .conftest import KEY, SECRET, Server, clear

CONTENT = bytes(range(256)) * 300


def put(server: Server, name: str, content: bytes) -> Url:
    url = Url(f"s3://bucket/{name}")
    access._filesystem("s3").pipe_file(url.address, content)
    clear()
    server.asked.clear()
    return url


@pytest.mark.parametrize("fault", [503, 500, 429, "cut", "short", "few", "many", "slow"])
def test_a_passing_fault_is_tried_again(web: Server, fault: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ANSWER_SECONDS", 0.4)
    web.files["/a/list.txt"] = CONTENT
    url = located(f"{web.address}/a/list.txt")
    assert url.stat().st_size == len(CONTENT)
    web.faults = [fault, fault]
    assert url.read_bytes() == CONTENT
    assert [method for method, _, _ in web.asked].count("GET") == 3


@pytest.mark.parametrize("fault", [503, "cut", "short"])
def test_a_passing_fault_of_s3_is_tried_again(s3: Server, fault: int | str) -> None:
    url = put(s3, "list.txt", CONTENT)
    s3.faults = [503, "cut", None, fault, fault]
    assert url.read_bytes() == CONTENT
    assert len(s3.asked) == 6


@pytest.mark.parametrize(
    "fault, words",
    [
        (503, "the server is overloaded or broken (503), 6 times"),
        ("cut", "the connection failed"),
        ("few", "the server sent 76799 bytes instead of 76800"),
    ],
)
def test_a_fault_that_lasts_is_one_line(web: Server, fault: int | str, words: str) -> None:
    web.files["/list.txt"] = CONTENT
    url = located(f"{web.address}/list.txt?token=hidden")
    url.stat()
    web.faults = [fault] * 20
    with pytest.raises(RunError) as caught:
        url.read_bytes()
    said = str(caught.value)
    assert words in said and said.startswith(f"{web.address}/list.txt?***: cannot be read: ")
    assert "hidden" not in said and "secret" not in said and "\n" not in said
    assert len(web.asked) >= 1 + access.ATTEMPTS  # the library itself repeats a request on a connection that was cut
    assert not list((cache.folder()).rglob("list.txt"))


def test_a_missing_file_and_a_missing_right(web: Server, s3: Server) -> None:
    for url in (Url("s3://bucket/none"), Url("s3://no-such-bucket/none")):
        assert not url.exists()
        with pytest.raises(FileNotFoundError) as missing:
            open(url)  # noqa: SIM115
        assert missing.value.filename == str(url)
    url = put(s3, "a", b"content")
    s3.faults = [403] * 4
    with pytest.raises(InputError, match=r"^s3://bucket/a: cannot be read: access denied \(403\)"):
        url.read_bytes()
    web.forward = ""
    web.allowed = lambda request: False
    with pytest.raises(InputError, match=r"/b\.txt: cannot be read: access denied \(403\)"):
        located(f"{web.address}/b.txt").read_bytes()


def test_credentials_that_are_wrong_or_expired(s3: Server) -> None:
    url = put(s3, "a", CONTENT)
    said = []
    for status, code in (
        (400, "ExpiredToken"),
        (403, "RequestExpired"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
    ):
        url.stat()
        s3.faults = [(status, code)]
        with pytest.raises(InputError) as caught:
            url.read_bytes()
        said.append(str(caught.value))
        assert not s3.faults
    assert "the credentials have expired; renew them" in said[0]
    assert "the credentials have expired; renew them" in said[1]
    assert all("does not accept the credentials" in one for one in said[2:])
    clear()
    s3.faults = [400] * 8  # a HEAD request has no words
    with pytest.raises(InputError, match="check the address, and whether the credentials have expired"):
        url.read_bytes()
    assert not any(KEY in one or SECRET in one for one in said)


def test_no_credentials(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="s3://bucket/a: cannot be read: no credentials; set AWS_ACCESS_KEY_ID"):
        Url("s3://bucket/a").read_bytes()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=r"^s3://bucket/a: s3:// needs more packages: pip install 'spkver\[remote\]'"):
        Url("s3://bucket/a").exists()


def test_a_large_file_is_read_in_ranges(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CHUNK", 1000)
    web.files["/x.bin"] = CONTENT
    url = located(f"{web.address}/x.bin")
    web.faults = [None, None, "cut", 503, "short"]
    assert url.read_bytes() == CONTENT
    assert len([one for one in web.asked if one[2]]) == 77 + 3
    clear()
    web.asked.clear()
    web.ranges = False  # the whole file, whatever was asked
    web.files["/x.bin"] = CONTENT[::-1]
    assert url.read_bytes() == CONTENT[::-1]


def test_a_copy_is_kept_until_the_file_changes(web: Server) -> None:
    web.files["/list.txt"] = b"one"
    url = located(f"{web.address}/list.txt")
    assert url.read_text() == "one"
    first = os.fspath(url)
    clear()
    web.asked.clear()
    assert os.fspath(url) == first and [one[0] for one in web.asked] == ["HEAD"]
    with open(first, "wb") as copy:
        copy.write(b"")  # by a crash of the computer
    assert url.read_text() == "one"
    web.files["/list.txt"] = b"two"
    clear()
    assert url.read_text() == "two" and os.fspath(url) != first


def test_urls_and_paths() -> None:
    url = located("s3://bucket/a//b/c.parquet")
    assert str(url) == "s3://bucket/a/b/c.parquet" and url == Url("s3://bucket/a/b/c.parquet")
    assert (url.name, url.suffix, url.stem, str(url.parent)) == ("c.parquet", ".parquet", "c", "s3://bucket/a/b")
    assert str(url.with_suffix(".ids")) == "s3://bucket/a/b/c.ids" and str(url.parent / "d") == "s3://bucket/a/b/d"
    assert pickle.loads(pickle.dumps(url)) == url
    assert str(located("file:///tmp/a%20b")) == "/tmp/a b" and str(located("a/b")) == "a/b"
    assert str(located("http://h/d?sig=1") / "wav.scp") == "http://h/d/wav.scp?***"
    assert located("http://h/d?sig=1/2").name == "d"


@pytest.mark.parametrize(
    "text, words",
    [
        ("ftp://host/a", "ftp://host/a: cannot read ftp://; known: s3://, gs://, http://, https://, file://"),
        ("s3:///a", "not a URL"),
        ("s3://bucket/../a", "a URL with . or .. in it"),
        ("https://me:pass@host/a", "https://***@host/a: a URL with a user name or password"),
        ("https://me:pa/ss@host/a", "https://***@host/a: a URL with a user name or password"),
        ("file://other/a", "a file on another computer"),
    ],
)
def test_a_url_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        located(text)
    assert words in str(caught.value) and "pa/ss" not in str(caught.value) and "pass@" not in str(caught.value)


def test_a_name_cannot_leave_its_folder() -> None:
    for name in ("../x", "/x", "a/../../x", ""):
        with pytest.raises(InputError):
            Url("s3://bucket/pack") / name


def test_errors_have_no_credentials() -> None:
    assert redacted("https://u:p@h/a?b=c: lost") == "https://***@h/a?***: lost"
    assert str(InputError("'http://h/a?sig=s' is lost")) == "'http://h/a?***' is lost"
    assert redacted("http://h:80/a@b") == "http://h:80/a@b"
    assert redacted("why? see a://b") == "why? see a://b"


def test_the_cache_stays_below_its_limit(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.GIGABYTES, "1e-4")  # 100 kB
    for number in range(30):
        web.files[f"/{number}"] = bytes([number]) * 9000
        assert located(f"{web.address}/{number}").read_bytes() == web.files[f"/{number}"]
        kept = [path for path in cache.folder().rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in kept) <= 100_000
    assert sorted(int(path.name) for path in kept)[-8:] == list(range(22, 30))
    web.files["/big"] = bytes(100_001)
    with pytest.raises(InputError, match=r"does not fit into the cache of 100\.0 kB; set SPKVER_CACHE_GB to more"):
        located(f"{web.address}/big").read_bytes()
    monkeypatch.setenv(cache.GIGABYTES, "many")
    with pytest.raises(InputError, match="SPKVER_CACHE_GB=many: expected a number of gigabytes"):
        cache.limit()


def test_names_in_the_cache_are_hashes(web: Server) -> None:
    web.files["/a/.."] = web.files["/%2e%2e%2fx"] = web.files["/.hidden"] = b"x"
    for name in ("%2e%2e%2fx", ".hidden"):
        located(f"{web.address}/{name}").read_bytes()
    for path in cache.folder().rglob("*"):
        assert path.resolve().is_relative_to(cache.folder().resolve())
    with pytest.raises(InputError, match="is not a SHA-256"):
        cache.kept("../" * 21 + "x", lambda part: None, 1)
