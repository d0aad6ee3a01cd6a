"""A wall clock of the tests' own for programs that run with it."""

import pathlib
import struct

import pytest

from cluster import TESTS_DIR
from waiting import SANITIZER

needs_shim = pytest.mark.skipif(SANITIZER != "", reason="a sanitizer's runtime has to be the first library")


class WallClock:
    """The wall clock that the programs of a cluster see."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.step(0)

    def step(self, nanos: int) -> None:
        """Moves the clock to `nanos` from the true one, also for waits that have begun."""
        with open(self._path, "r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("q", nanos))

    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(TESTS_DIR / "libwall_clock_shim.so"),
            "TRUNKLINE_CLOCK_OFFSET": str(self._path),
        }
