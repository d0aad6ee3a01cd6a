"""Turns Ctrl-C into an exception that never hits between the start of a process and its registration.

Python raises a signal's exception wherever the main thread happens to be, even inside the start of a process that
exists already and is not registered yet. Inside `held()` the exception waits for the end of the block.
"""

import contextlib
import signal
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_holders = 0
_came = False


def on_stop_signal(_signal: int, _frame: object) -> None:
    global _came
    if _holders:
        _came = True
    else:
        raise KeyboardInterrupt


def raise_on_stop_signals() -> None:
    # Includes SIGINT, which is ignored by default in background jobs of a script.
    for which in STOP_SIGNALS:
        signal.signal(which, on_stop_signal)


def ignore_stop_signals() -> None:
    for which in STOP_SIGNALS:
        signal.signal(which, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delays the exception until the end of the block. For the main thread; may be nested."""
    global _holders, _came
    _holders += 1
    try:
        yield
    finally:
        _holders -= 1
        if _came and not _holders:
            _came = False
            raise KeyboardInterrupt
