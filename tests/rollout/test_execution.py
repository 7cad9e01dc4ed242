"""Tests of the worker threads, without a rollout."""

import threading

import pytest

from mfa_kit.rollout.execution import Workers


def test_workers_end_if_a_thread_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """No result is consumed. The workers start no further rows, and finish the rows in progress."""
    start, stop, begun = threading.Thread.start, threading.Event(), list[int]()

    def act(row: int) -> None:
        begun.append(row)
        stop.wait(5)

    def limited(thread: threading.Thread) -> None:
        if thread.name == "worker_2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(Workers(act=act, number=4, stop=stop).work_through(range(6)))
    assert stop.is_set()
    assert len(begun) <= 2
    assert not [each for each in threading.enumerate() if each.name.startswith("worker_")]
