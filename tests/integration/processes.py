"""Starts the processes of a test with their output in files, ends them by process id and reports how they ended."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, Self

import pytest

from waiting import SLOWNESS, eventually

_SANITIZER_REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:")
# Kills the child if the test's process is killed.
_END_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
_LOG_TAIL_LINES = 60


def tool(name: str, *folders: str) -> str:
    """Returns the path of a program that a Debian package installs."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    if found is None:
        pytest.fail(f"{name} is not installed: ./dev setup test installs it")
    return found


class Process:
    """A named program that can be restarted. The output of each start goes into a file of its own."""

    def __init__(
        self,
        folder: pathlib.Path,
        name: str,
        command: Sequence[object],
        user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.name = name
        self.command = [str(part) for part in command]
        self.user = user
        self.env = env
        # A descriptor for standard error, which otherwise goes into the log with standard output.
        self.stderr: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.killed = False

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def log_path(self) -> pathlib.Path:
        return self.folder / f"{self.name}.{self.starts}.log"

    def log(self) -> str:
        """Returns the output since the last start."""
        return self.log_path.read_text(errors="replace") if self.starts else ""

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])

    def start(self) -> Self:
        assert not self.running, f"{self.name} runs already"
        self.starts += 1
        self.killed = False
        with open(self.log_path, "wb") as output:
            self._popen = subprocess.Popen(
                _END_WITH_PARENT + self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if self.stderr is None else self.stderr,
                env={**os.environ, **(self.env or {})},
                cwd=self.folder,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )
        return self

    def wait_for_line(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Waits for `pattern` in the output since the last start and returns its first match."""
        regex = re.compile(pattern)

        def look() -> re.Match[str] | None:
            match = regex.search(self.log())
            if match is None and not self.running:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.log_tail()}")
            return match

        return eventually(f"{self.name} logs {pattern!r}", look, seconds)

    def send(self, signal_number: int) -> None:
        self.popen.send_signal(signal_number)

    def kill(self) -> None:
        """Kills the process, as a crash would end it."""
        self.killed = True
        self.popen.kill()
        self.popen.wait()

    def end(self, seconds: float = 15) -> int:
        """Sends SIGTERM and returns the exit code. Kills the process and fails the test after `seconds`."""
        if self._popen is None:
            return 0
        if self.running:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 15) -> int:
        """Waits until the process ended and returns its exit code. Kills it and fails the test after `seconds`."""
        try:
            return self.popen.wait(seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {seconds * SLOWNESS} s") from None

    def sanitizer_report(self) -> str | None:
        """Returns the first sanitizer report in the process's logs, or None."""
        for path in sorted(self.folder.glob(f"{self.name}.*.log")):
            text = path.read_text(errors="replace")
            match = _SANITIZER_REPORT.search(text)
            if match:
                return f"{path.name}:\n" + text[match.start() : match.start() + 6000]
        return None

    def resident_bytes(self) -> int:
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0


def run(
    command: Sequence[object], seconds: float = 60, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns the result with its output as text. `check` demands exit code 0."""
    result = subprocess.run(
        _END_WITH_PARENT + [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=seconds * SLOWNESS,
        **options,
    )
    if check:
        assert result.returncode == 0, (
            f"{command} exited with {result.returncode}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        )
    return result
