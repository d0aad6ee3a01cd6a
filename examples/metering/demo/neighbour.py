"""A noisy neighbour: uses a stated number of cores, in small slices, until it is killed.

It runs as a process of its own inside a server's limit. It counts its CPU time, not elapsed time, so it uses no more
than stated even if the limit makes it wait.
"""

import sys
import time

SLICE_SECONDS = 0.01


def main() -> None:
    cores = float(sys.argv[1])
    began, used_before = time.monotonic(), time.process_time()
    while True:
        used = time.process_time() - used_before
        due = (time.monotonic() - began) * cores
        if used >= due:
            time.sleep(SLICE_SECONDS)
        # CPU that the limit withheld is not made up for later.
        elif due - used > 10 * SLICE_SECONDS:
            began, used_before = time.monotonic(), time.process_time()


if __name__ == "__main__":
    main()
