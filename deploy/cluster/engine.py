"""Provides a Docker engine: the one that runs, or one of Trunkline's own.

Trunkline's own engine leaves the machine as it was: it has its own socket and data, no default bridge, and no firewall
rule (rules switch connection tracking on for the whole machine, which distorts every benchmark). It needs no rules:
containers reach each other over their bridge, published ports go through Docker's user-space proxy, and images are
built in the host's network.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

SOCKET = "unix:///run/trunkline-engine.sock"
PID_FILE = "/run/trunkline-engine.pid"
RUN = "/run/trunkline-engine"
DATA = "/var/lib/trunkline-engine"
START_SECONDS = 60
STOP_SECONDS = 30


class EngineError(Exception):
    pass


def answers() -> bool:
    """Returns whether an engine answers at DOCKER_HOST or at the default socket."""
    return subprocess.run(["docker", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def our_pid() -> int | None:
    """Returns the process id of Trunkline's own engine, or None if it does not run."""
    try:
        with open(PID_FILE) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline") as file:
            return pid if SOCKET in file.read() else None
    except (OSError, ValueError):
        return None


def use() -> bool:
    """Points this process at a running engine. Returns false if there is none."""
    if answers():
        return True
    if not our_pid():
        return False
    os.environ["DOCKER_HOST"] = SOCKET
    return answers()


def start() -> None:
    """Starts Trunkline's own engine and points this process at it."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        raise EngineError("no Docker engine answers, and only root can start one (apt-get install docker.io)")
    os.makedirs(DATA, mode=0o710, exist_ok=True)
    log_path = os.path.join(DATA, "engine.log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                "--host",
                SOCKET,
                "--pidfile",
                PID_FILE,
                "--data-root",
                f"{DATA}/data",
                "--exec-root",
                RUN,
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # Ctrl-C must reach only this process, which stops the engine last
    os.environ["DOCKER_HOST"] = SOCKET
    try:
        wait_until_it_answers(process, log_path)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def wait_until_it_answers(process: subprocess.Popen[bytes], log_path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None:
            raise EngineError(f"dockerd ended with exit code {process.returncode}; see {log_path}")
        if time.monotonic() > deadline:
            raise EngineError(f"dockerd does not answer after {START_SECONDS} s; see {log_path}")
        time.sleep(0.2)


def stop() -> None:
    """Stops Trunkline's own engine if it runs, and waits until it is gone. Images stay for the next time."""
    pid = our_pid()
    if not pid:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while our_pid() and time.monotonic() < deadline:
        reap(pid)
        time.sleep(0.1)
    if our_pid():
        raise EngineError(f"dockerd (process {pid}) does not stop; see {DATA}/engine.log")
    # An engine leaves this mount behind.
    subprocess.run(["umount", f"{RUN}/netns/default"], stderr=subprocess.DEVNULL)
    shutil.rmtree(RUN, ignore_errors=True)


def reap(pid: int) -> None:
    # An engine that an earlier run started is not our child.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
