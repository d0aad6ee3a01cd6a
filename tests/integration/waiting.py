"""Waiting for what must come to pass: conditions are polled until a deadline, so no test guesses how long a thing takes."""

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SANITIZER = os.environ.get("TRUNKLINE_SANITIZE", "")
# What instrumented programs, several times slower, are given more of.
SLOWNESS = 4 if SANITIZER else 1
_POLL_SECONDS = 0.02


def found(pattern: str, text: str, flags: int = 0) -> str:
    """Returns the first group of the first match of `pattern`, which must be in `text`."""
    match = re.search(pattern, text, flags)
    assert match is not None, f"{pattern!r} is not in {text!r}"
    return match.group(1)


def eventually(what: str, condition: Callable[[], T | None], seconds: float = 20) -> T:
    """Returns the first true result of `condition()`. Fails, saying `what` did not happen, when there is none in time."""
    deadline = time.monotonic() + seconds * SLOWNESS
    last: object = None
    while time.monotonic() < deadline:
        try:
            result = condition()
            if result:
                return result
            last = result
        except (OSError, LookupError) as error:
            last = error
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"{what}: not within {seconds * SLOWNESS} s; last seen: {last!r}")
