"""Polls conditions until a deadline, so that no test depends on how long something takes."""

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SANITIZER = os.environ.get("TRUNKLINE_SANITIZE", "")
# Factor on every timeout, because instrumented programs are several times slower.
SLOWNESS = 4 if SANITIZER else 1
_POLL_SECONDS = 0.02


def found(pattern: str, text: str, flags: int = 0) -> str:
    """Returns the first group of the first match of `pattern`, which must be in `text`."""
    match = re.search(pattern, text, flags)
    assert match is not None, f"{pattern!r} is not in {text!r}"
    return match.group(1)


def eventually(what: str, condition: Callable[[], T | None], seconds: float = 20) -> T:
    """Returns the first true result of `condition()`. Fails the test, naming `what`, if none comes in time."""
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
