"""Samples everything once a second from outside, as an operator could.

Weights and states come from `trunkctl --json`, flows and trunks from the proxies' /metrics, long connections also from
the kernel's table of TCP connections, and utilization from the CPU limits themselves, not from the agents' reports.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable

from children import Numbers
from cluster import ADAPTIVE, Cluster

TRUNKCTL_SECONDS = 2
METRICS_SECONDS = 1
_ESTABLISHED = "01"
_METRIC = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>[-+.eE\d]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def parse_metrics(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Returns [(name, labels, value)] of the Prometheus text format."""
    return [(m["name"], dict(_LABEL.findall(m["labels"] or "")), float(m["value"])) for m in _METRIC.finditer(text)]


# 127.0.0.1 as the kernel prints it, in the byte order of the machine.
_LOOPBACK = f"{int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder):08X}"


def established_to(ports: Iterable[int]) -> dict[int, int]:
    """Returns {port: number of established TCP connections to it at 127.0.0.1}, from the kernel.

    The kernel returns its table in pieces, and a row may appear twice while others come and go. Each connection counts
    once.
    """
    found: dict[int, set[str]] = {port: set() for port in ports}
    with open("/proc/net/tcp") as table:
        next(table)
        for line in table:
            _, local, remote, state = line.split()[:4]
            host, port = remote.split(":")
            if state == _ESTABLISHED and host == _LOOPBACK and int(port, 16) in found:
                found[int(port, 16)].add(local)
    return {port: len(ends) for port, ends in found.items()}


class Sample:
    """The values of one second.

    `servers` maps names to utilization, weight, share, state, in_flight, flows (ever), flows_per_second, trunks and
    reachable.
    """

    def __init__(self) -> None:
        self.at = time.time()
        self.servers: dict[str, Numbers] = {}
        self.controller_answers = False
        self.trunks_by_metrics = self.trunks_by_kernel = 0
        self.clients = 0
        self.clients_accepted = 0


class Observer:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._used: dict[str, float] = {}
        self._used_at: float | None = None
        self._weights: dict[str, Numbers] = {}
        self.service = ADAPTIVE  # the service whose weights are sampled
        self.samples: list[Sample] = []

    def look(self) -> Sample:
        sample = Sample()
        sample.servers = {server.name: {} for server in self._cluster.servers}
        self._utilization(sample)
        self._controller(sample)
        self._proxies(sample)
        self._kernel(sample)
        self.samples.append(sample)
        return sample

    def between(self, begin: float, end: float) -> list[Sample]:
        """Returns the samples of a span, or the last one before its end if the machine was too busy for any."""
        return [s for s in self.samples if begin <= s.at < end] or [s for s in self.samples if s.at < end][-1:]

    def used_seconds(self) -> dict[str, float]:
        return {s.name: s.group.limit.used_seconds() for s in self._cluster.servers}

    def _utilization(self, sample: Sample) -> None:
        now, used = time.monotonic(), self.used_seconds()
        for server in self._cluster.servers:
            spent = used[server.name] - self._used.get(server.name, used[server.name])
            elapsed = now - self._used_at if self._used_at else 1
            sample.servers[server.name]["utilization"] = spent / elapsed / server.cores
        self._used, self._used_at = used, now

    def _controller(self, sample: Sample) -> None:
        weights = self._ask_weights()
        sample.controller_answers = weights is not None
        self._weights = weights or self._weights
        for name, row in sample.servers.items():
            row.update(self._weights.get(name, {"weight": 0.0, "share": 0.0, "state": "?", "reachable": True}))

    def _ask_weights(self) -> dict[str, Numbers] | None:
        try:
            answer = subprocess.run(
                [self._cluster.program("trunkctl"), "--controller", self._cluster.grpc, "--json", "endpoints"],
                capture_output=True,
                timeout=TRUNKCTL_SECONDS,
                check=True,
            )
            rows = json.loads(answer.stdout)["endpoints"]
        except (subprocess.SubprocessError, ValueError, KeyError):
            return None
        return {
            row["weight"]["endpoint_id"]: {
                "weight": row["weight"].get("weight", 0.0),
                "share": row["weight"].get("share", 0.0),
                "state": str(row["weight"].get("state", "?")).lower(),
                "reachable": row.get("reachable", False),
            }
            for row in rows
            if row["service"] == self.service
        }

    def _proxies(self, sample: Sample) -> None:
        for row in sample.servers.values():
            row["in_flight"] = row["flows"] = 0
        for proxy in self._cluster.proxies:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{proxy.admin_port}/metrics", timeout=METRICS_SECONDS
                ) as page:
                    metrics = parse_metrics(page.read().decode())
            except OSError:
                continue
            for name, labels, value in metrics:
                if name == "trunkline_proxy_trunks":
                    sample.trunks_by_metrics += int(value)
                elif name == "trunkline_proxy_clients":
                    sample.clients += int(value)
                elif name == "trunkline_proxy_clients_accepted_total":
                    sample.clients_accepted += int(value)
                elif name == "trunkline_proxy_endpoint_active_flows":
                    sample.servers[labels["endpoint"]]["in_flight"] += int(value)
                elif name == "trunkline_proxy_endpoint_flows_total":
                    sample.servers[labels["endpoint"]]["flows"] += int(value)
        self._rates(sample)

    def _rates(self, sample: Sample) -> None:
        before = self.samples[-1] if self.samples else sample
        elapsed = max(0.001, sample.at - before.at)
        for name, row in sample.servers.items():
            row["flows_per_second"] = (row["flows"] - before.servers[name]["flows"]) / elapsed

    def _kernel(self, sample: Sample) -> None:
        counts = established_to([server.trunk_port for server in self._cluster.servers])
        for server in self._cluster.servers:
            sample.servers[server.name]["trunks"] = counts[server.trunk_port]
        sample.trunks_by_kernel = sum(counts.values())
