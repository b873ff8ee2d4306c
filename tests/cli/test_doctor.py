"""`spkver doctor`: what it prints, and how it ends."""

from __future__ import annotations

from click.testing import CliRunner

from spkver import __version__, doctor
from spkver.cli.doctor import command
from spkver.errors import RunError


def test_one_line_per_part(spkver):
    lines = spkver("doctor").stdout.splitlines()
    assert lines[0].split()[:2] == ["spkver", __version__]
    assert {line.split()[0] for line in lines} >= {*doctor.REQUIRED, "device", "packs", "models"}


def test_broken_required_part_is_a_failure(monkeypatch):
    found = [doctor.Finding("numpy", "2.0"), doctor.Finding("scipy", "does not load", broken=True)]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    done = CliRunner().invoke(command)
    assert [line[0] for line in done.stdout.splitlines()] == [" ", "!"]
    assert isinstance(done.exception, RunError) and str(done.exception).startswith("scipy: required")
