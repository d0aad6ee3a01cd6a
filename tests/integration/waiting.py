"""Waiting for what must come to pass: conditions are polled until a deadline, so no test guesses how long a thing takes."""

import os
import time

SANITIZER = os.environ.get("TRUNKLINE_SANITIZE", "")
# What instrumented programs, several times slower, are given more of.
SLOWNESS = 4 if SANITIZER else 1
_POLL_SECONDS = 0.02


def eventually(what, condition, seconds=20):
    """Returns the first true result of `condition()`. Fails, saying `what` did not happen, when there is none in time."""
    deadline = time.monotonic() + seconds * SLOWNESS
    last = None
    while time.monotonic() < deadline:
        try:
            last = condition()
            if last:
                return last
        except (OSError, LookupError) as error:
            last = error
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"{what}: not within {seconds * SLOWNESS} s; last seen: {last!r}")
