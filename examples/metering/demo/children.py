"""Starts processes that never outlive the demo.

The kernel kills each child when the demo dies for any reason. A child runs in a session of its own, so that Ctrl-C
reaches only the demo, which stops the children in order. Its output goes to a log file, whose end is shown if the child
ends by itself. The demo signals only processes that it started, by process id.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import interrupts

# A JSON object.
Numbers = dict[str, Any]

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 5
LOG_LINES_SHOWN = 15

_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Ends the demo with a message for its user."""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    def __init__(
        self, name: str, arguments: list[str], log_path: str, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.expected_to_run = True
        with open(log_path, "ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Returns the exit code, or None while the process runs."""
        return self._process.poll()

    def log_tail(self) -> str:
        with open(self.log_path, errors="replace") as log:
            return "".join(f"    {line}" for line in log.readlines()[-LOG_LINES_SHOWN:])

    def last_line(self) -> str:
        with open(self.log_path, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log_path) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        return lines[-2] if len(lines) > 1 else ""  # the last element is an incomplete line

    def check(self) -> None:
        if self.expected_to_run and self.exit_code() is not None:
            raise Failure(
                f"{self.name} ended with exit code {self.exit_code()}; the end of its log:\n{self.log_tail()}"
            )

    def kill(self) -> None:
        """Kills the process, as a crash would end it."""
        self.expected_to_run = False
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        self.expected_to_run = False
        if self.exit_code() is None:
            self._process.terminate()

    def wait_stopped(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not stop within {STOP_SECONDS} s and was killed", file=sys.stderr)
            self.kill()


class Children:
    """All children. `stop_all` ends every one of them."""

    def __init__(self, log_folder: str) -> None:
        self._log_folder = log_folder
        self._running: list[Child] = []

    def start(self, name: str, arguments: Sequence[object], environment: dict[str, str] | None = None) -> Child:
        log_path = os.path.join(self._log_folder, f"{name}.log")
        with interrupts.held():
            child = Child(name, [str(a) for a in arguments], log_path, environment)
            self._running.append(child)
        return child

    def check(self) -> None:
        self._running = [c for c in self._running if c.expected_to_run or c.exit_code() is None]
        for child in self._running:
            child.check()

    def stop_all(self) -> None:
        for child in self._running:
            if not child.expected_to_run:
                child.kill()  # the child was about to end, and may be waiting for others
                continue
            child.ask_to_stop()
            # A stopped process handles SIGTERM only after SIGCONT.
            if child.exit_code() is None:
                os.kill(child.pid, signal.SIGCONT)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._running:
            child.wait_stopped(deadline)
        self._running = []
