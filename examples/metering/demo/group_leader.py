"""Parent of a server and of the processes that share its limit, where no control group can hold them together.

An agent that watches a process counts its children too, so the server and its noisy neighbour are both children of this
process. It reads one JSON object per line from the pipe named on the command line,

    {"arguments": [...], "log": "path", "pid_file": "path"}

starts that process, and writes its id to the pid file. It ends with the demo, and its children end with it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

from children import Numbers

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _start(order: Numbers) -> None:
    with open(order["log"], "ab") as log:
        process = subprocess.Popen(
            order["arguments"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    temporary = order["pid_file"] + ".new"
    with open(temporary, "w") as file:
        file.write(str(process.pid))
    os.rename(temporary, order["pid_file"])
    threading.Thread(target=process.wait, daemon=True).start()  # reaps the child


def main() -> None:
    while True:
        with open(sys.argv[1]) as orders:
            for line in orders:
                _start(json.loads(line))


if __name__ == "__main__":
    main()
