from __future__ import annotations

import pytest

from spkver.config import read_yaml
from spkver.errors import InputError
from spkver.files import json_object, read_json
from spkver.text import MARK, decoded, numbered, read_text


def test_byte_order_mark_is_removed_from_lines(tmp_path):
    assert decoded(MARK + b"a\n" + MARK + b"b", "f") == "a\nb"
    assert decoded(b"a \xef\xbb\xbfb", "f") == "a \ufeffb"  # kept within a line
    (tmp_path / "f").write_bytes(MARK + b'{"a": 1}')
    assert read_text(tmp_path / "f") == '{"a": 1}'
    assert read_json(tmp_path / "f") == {"a": 1} and read_yaml(tmp_path / "f") == {"a": "1"}
    assert list(numbered([MARK + b"a\r\n", b" \n", MARK + b"b"], "f")) == [("f:1", "a"), ("f:3", "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb \xe9\n", "^f:2: not UTF-8 text; save it as UTF-8 text$"),
        (b"a\nb \0\n", "^f:2: contains a NUL byte; save it as UTF-8 text$"),
        *(
            ("a\n".encode(name), "^f: UTF-16 or not a text file")
            for name in ("utf-16", "utf-16-be", "utf-16-le", "utf-32")
        ),
    ],
)
def test_text_that_is_not_utf_8_is_rejected_with_its_line(content, message):
    with pytest.raises(InputError, match=message):
        decoded(content, "f")


def test_line_numbers_count_from_the_start_of_a_block():
    with pytest.raises(InputError, match=r"^f:12: "):
        decoded(b"a\nb\nc \xff", "f", first_line=10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "\\ud800"}', "f:1: not JSON .it contains a lone surrogate"),
        ('{"\\udfff": 1}', "f:1: not JSON .it contains a lone surrogate"),
        ("[" * 100_000, "f:1: not JSON"),
        ("9" * 5000, "f:1: not JSON"),
        ("[1]", "f:1: expected an object, got '.1.'"),
    ],
)
def test_json_lines_that_are_no_objects_are_rejected(text, message):
    with pytest.raises(InputError, match=message):
        json_object(text, "f:1")


def test_surrogate_pairs_are_accepted():
    assert json_object('{"a": "\\ud83d\\ude00"}', "f:1") == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a: "\\ud800"', "f:1: .* contains a lone surrogate"),
        ('a: 1\n"\\ud800": 2', "f:2: .* contains a lone surrogate|f:1: a key must be a word"),
        ("[" * 10_000, "f: nested too deeply"),
        ("a: &x [*x]", "f: nested too deeply, or contains itself|f:1: "),
        ("a: [", "f:1: not valid YAML"),
    ],
)
def test_invalid_yaml_is_rejected_with_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml("f")
