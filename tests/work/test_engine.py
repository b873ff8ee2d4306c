"""Engines without a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from spkver.errors import InputError, RunError
from spkver.processes import ahead, one_thread
from spkver.work import Local, engine
from spkver.work import cluster as module


class Square:
    """A function that is pickled once for each process."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, item: int, cores: int) -> tuple[int, int, int]:
        self.calls += 1
        if item == 99:
            raise InputError("99: too large; give less")
        if item == 77:
            os._exit(9)
        return item * item, cores, os.getpid()


def test_local_engine_gives_every_result_once() -> None:
    assert [(n, one[:2]) for n, one in Local(1, 3).map(Square(), range(4))] == [(n, (n * n, 3)) for n in range(4)]
    found = sorted(Local(2).map(Square(), iter(range(30))))
    assert [(n, one[:2]) for n, one in found] == [(n, (n * n, 1)) for n in range(30)]
    assert os.getpid() not in {one[2] for _, one in found}


def test_errors_of_processes_are_those_of_the_function() -> None:
    with pytest.raises(InputError, match="99: too large; give less"):
        list(Local(2).map(Square(), [1, 99, 2]))
    with pytest.raises(RunError, match=r"a process was killed \(out of memory\?\); run again to resume"):
        list(Local(2).map(Square(), [1, 77, 2]))
    with pytest.raises(InputError, match="0 processes: at least 1 needed"):
        Local(0)


def test_unknown_engine_and_missing_ray_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown engine 'rai'; did you mean 'ray'"):
        engine("rai")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"this needs ray: pip install 'spkver\[cluster\]'"):
        engine("ray")


def test_worker_with_other_versions_or_folders_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    versions = module._versions()
    module._Worker(str(tmp_path), versions, 1).load(Square())
    with pytest.raises(RunError, match=r"numpy \S+ on \S+, 0\.1 here; install the same version"):
        module._Worker(str(tmp_path), versions | {"numpy": "0.1"}, 1).load(Square())
    with pytest.raises(RunError, match=r"gone: not found on .*; all machines need the same folders"):
        module._Worker(str(tmp_path / "gone"), versions, 1).load(Square())


def test_version_mismatch_of_the_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(**options: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError, match=r"^the Ray cluster at auto \(RAY_ADDRESS\): Version mismatch: .* Ray: 2\.9\.0 "):
        list(engine("ray").map(Square(), range(3)))


def test_cluster_that_asks_for_a_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(**options: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6399")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError, match=r"Failed to connect .* set RAY_AUTH_MODE=token"):
        list(engine("ray").map(Square(), range(3)))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(RunError, match=r"192\.0\.2\.2:6399$"):
        list(engine("ray").map(Square(), range(3)))


def test_a_cluster_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    given: dict[str, object] = {}

    def init(**options: object) -> None:
        given.update(options)
        raise RuntimeError("stop")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    for address, expected in (("", "local"), ("auto", None)):
        given.clear()
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunError, match="stop"):
            list(engine("ray", 2).map(Square(), range(3)))
        assert (given.get("address"), given.get("num_cpus")) == (expected, 2 if expected else None)


def test_matrix_products_use_one_thread() -> None:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    before = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    with one_thread():
        assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} == {1}
    assert [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"] == before


def test_threads_ahead_keep_the_order() -> None:
    assert list(ahead(lambda item: item * 2, range(50), 3)) == [(n, 2 * n) for n in range(50)]
