"""The measurements of `./dev bench dataplane`, each of one program and in the unit of its row."""

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from bench_processes import Result, busy_share, connection_tables, core_times, cpu_seconds, median, resident_bytes
from bench_stack import Stack

# The kernel reuses a port in TIME_WAIT after a second; this lets a full table drain between pairs.
SETTLE_SECONDS = 1.0
IDLE_CLIENTS = 4000
FETCH_BYTES = 64 << 20
GIB = 1 << 30
KNEE_SHARE = 0.7
# Ratio of sockets in TIME_WAIT after and before a run above which their number still grows.
STILL_GROWS = 1.02
# Concurrent connections, enough that a pass of the event loop serves several flows, as on a busy proxy.
PARALLEL = 64
# Small flows beside a bulk flow, with so few requests per second that none waits for another.
SMALL_FLOWS = 1000
SMALL_REQUESTS_PER_SECOND = 2000
# Unthrottled flows beside the small ones; more than a worker has trunks to an agent.
BULK_FLOWS = 8
# For each direction of bulk flows: the generator's kind, and the suffix of the port's name.
BULK_WAYS = {"download": ("bulk", "bulk"), "upload": ("upload", "sink")}


class Failed(Exception):
    """Raised if a proxy did not carry the load."""


class Bench:
    def __init__(self, stack: Stack, options: argparse.Namespace) -> None:
        self.stack = stack
        self.options = options
        self.knee = 0.0

    def command(self, kind: str, port: int, **flags: Any) -> list[str]:
        words = [
            "taskset",
            "-c",
            self.stack.other_cores,
            self.stack.bin / "bench_load",
            kind,
            "--target",
            f"127.0.0.1:{port}",
        ]
        for flag, value in {"seconds": self.options.seconds, "parallel": PARALLEL, **flags}.items():
            words += [f"--{flag}", value]
        return [str(word) for word in words]

    def generator(self, kind: str, port: str, **flags: Any) -> subprocess.Popen[str]:
        """Starts a generator that runs until its standard input ends or it is stopped."""
        return subprocess.Popen(
            self.command(kind, self.stack.ports[port], **flags),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, kind: str, port: int, **flags: Any) -> Result:
        done = subprocess.run(self.command(kind, port, **flags), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{kind}: the generator failed: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def cpu(self, names: list[str]) -> float:
        return sum(cpu_seconds(self.stack.pids[name]) for name in names)

    def cost(self, kind: str, port: str, names: list[str], per: str = "done", **flags: Any) -> float:
        """Returns CPU seconds of the named processes per request, connection or byte."""
        before = self.cpu(names)
        result = self.load(kind, self.stack.ports[port], **flags)
        used = self.cpu(names) - before
        if result["errors"] or not result[per]:
            raise Failed(f"{kind} through {port}: {result['errors']} failed, {result['done']} succeeded")
        return used / result[per]

    def short(self, port: str, names: list[str]) -> float:
        return self.cost("short", port, names) * 1e6

    def kept(self, port: str, names: list[str]) -> float:
        return self.cost("kept", port, names) * 1e6

    def bulk_cost(self, port: str, names: list[str]) -> float:
        return self.cost("bulk", port, names, per="bytes", parallel=2, bytes=FETCH_BYTES) * GIB

    def throughput(self, port: str, names: list[str]) -> float:
        result = self.load("bulk", self.stack.ports[port], parallel=1, bytes=FETCH_BYTES)
        return result["bytes"] / result["seconds"] / 1e6

    def idle_bytes(self, port: str, names: list[str]) -> float:
        """Returns resident bytes per idle client."""
        return self.beside_idle(port, names, IDLE_CLIENTS, lambda: None)[0]

    def beside_idle(
        self, port: str, names: list[str], clients: int, measure: Callable[[], float | None], empty: int = 0
    ) -> tuple[float, float | None]:
        """Returns resident bytes per idle client, and what `measure` returns meanwhile.

        `empty` is the process's memory before its first client, if that is not its memory now; a process keeps freed
        memory.
        """
        pid = self.stack.pids[names[0]]
        before = empty or resident_bytes(pid)
        with self.generator("idle", port, parallel=clients, seconds=20) as holder:
            assert holder.stdin and holder.stdout  # both are pipes
            try:
                connected = json.loads(holder.stdout.readline() or '{"connected": 0}')["connected"]
                time.sleep(0.5)  # lets the proxy accept the last clients
                held = resident_bytes(pid) - before
                found = measure()
            finally:
                holder.stdin.close()
        time.sleep(0.5)
        if connected < clients:
            raise Failed(f"idle: {connected} of {clients} connected to {port}")
        return held / clients, found

    def find_knee(self) -> float:
        """Returns the short connections per second that HAProxy can do once TIME_WAIT holds as many sockets as it ever
        will.

        A host under load is in that state, and the cost of a connection depends on it.
        """
        if not self.knee:
            before = 0
            while (now := connection_tables()[0]) > before * STILL_GROWS:
                before = now
                self.closed_loop_rate("haproxy")
            self.knee = median([self.closed_loop_rate("haproxy") for _ in range(self.options.pairs)])
        return self.knee

    def closed_loop_rate(self, port: str) -> float:
        rate = self.load("short", self.stack.ports[port])["done"] / self.options.seconds
        time.sleep(SETTLE_SECONDS)
        return rate

    def latency(self, port: str, share: float) -> Result:
        """Returns latency in open loop at a share of HAProxy's knee, counted from the intended time.

        Failures are in the percentiles as the slowest requests; more than 0.1 % of them fail the measurement.
        """
        result = self.load(
            "open", self.stack.ports[port], seconds=2 * self.options.seconds, rate=self.find_knee() * share
        )
        if result["errors"] > result["done"] / 1000:
            raise Failed(f"open loop through {port}: {result['errors']} of {result['done']} failed")
        return result

    def p99(self, port: str, _: list[str]) -> float:
        return self.latency(port, KNEE_SHARE)["p99_us"]

    def small_beside_bulk(self, port: str, _: list[str]) -> float:
        """Returns the ratio of the p99 of many small flows beside one bulk flow on the same trunks to their p99 alone."""
        alone = self.small(port)["p99_us"]
        bulk = "haproxy_paced_bulk" if port == "haproxy" else f"{port}_paced_bulk"
        seconds = 10 * self.options.seconds  # longer than the measurement beside it
        with self.generator("bulk", bulk, parallel=1, bytes=FETCH_BYTES, seconds=seconds) as running:
            beside = self.small(port)["p99_us"]
            if running.poll() is not None:
                raise Failed(f"bulk through {bulk} ended beside {port}")
            running.terminate()
        return beside / alone

    def small_load(self, port: str) -> Result:
        return self.load(
            "paced",
            self.stack.ports[port],
            seconds=2 * self.options.seconds,
            parallel=SMALL_FLOWS,
            rate=SMALL_REQUESTS_PER_SECOND,
        )

    def small(self, port: str) -> Result:
        result = self.small_load(port)
        if result["errors"]:
            raise Failed(f"small flows through {port}: {result['errors']} of {result['done']} failed")
        return result

    def small_beside_full_bulk(self, port: str, way: str) -> Result:
        """Measures small flows beside unthrottled bulk flows on the same trunks, the bulk throughput, and the busy
        share of cores.

        Unanswered requests are in the percentiles as the slowest.
        """
        kind, suffix = BULK_WAYS[way]
        seconds = 20 * self.options.seconds  # longer than the measurement beside it, which ends it
        with self.generator(
            kind, f"{port}_{suffix}", parallel=BULK_FLOWS, bytes=FETCH_BYTES, seconds=seconds
        ) as running:
            try:
                before = core_times()
                small = self.small_load(port)
                after = core_times()
                if running.poll() is not None:
                    raise Failed(f"{way} through {port} ended beside its small flows")
            finally:
                running.terminate()
            assert running.stdout  # a pipe
            bulk = json.loads(running.stdout.read())
        cores = {
            name: busy_share(before, after, int(core))
            for name, core in (("proxy_core", self.stack.proxy_cores), ("other_core", self.stack.other_cores))
        }
        return {**small, "bulk_mb_per_second": bulk["bytes"] / bulk["seconds"] / 1e6, **cores}
