"""Ctrl-C as an exception that never falls between the birth of something and the note of who has to end it.

Python raises a signal's exception wherever the main thread happens to be, so also inside the start of a process that
exists already and is on nobody's list yet. Inside `held()` the exception waits for the end of the block.
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
    # SIGINT too: it is ignored by default in what a script starts in the background.
    for which in STOP_SIGNALS:
        signal.signal(which, on_stop_signal)


def ignore_stop_signals() -> None:
    for which in STOP_SIGNALS:
        signal.signal(which, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """For the main thread; may be nested."""
    global _holders, _came
    _holders += 1
    try:
        yield
    finally:
        _holders -= 1
        if _came and not _holders:
            _came = False
            raise KeyboardInterrupt
