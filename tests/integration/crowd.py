"""Runs many clients at once, each in a thread whose exception fails the test."""

import threading
from collections.abc import Callable

from waiting import SLOWNESS

_PATIENCE_SECONDS = 60


class Crowd:
    """Starts `count` threads that each call `work(number)` once. `join` waits for all and raises their first exception."""

    def __init__(self, count: int, work: Callable[[int], object]) -> None:
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work, i), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, work: Callable[[int], object], number: int) -> None:
        try:
            work(number)
        except BaseException as failure:
            self._failures.append(failure)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS * SLOWNESS)
            assert not thread.is_alive(), "a client hangs"
        if self._failures:
            raise self._failures[0]
