"""Computes the demo's numbers, as --json writes them, from samples and the collectors' results."""

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any

from children import Numbers
from cluster import Cluster
from load import SLO_MS, Span, window
from observer import Observer
from story import NEIGHBOUR_SHARE, Story

# Last part of a span, in which weights have settled.
SETTLED = 0.4


def settled(span: Span, part: float = SETTLED) -> Span:
    begin, end = span
    return end - part * (end - begin), end


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


class Findings:
    def __init__(self, cluster: Cluster, observer: Observer, story: Story, folder: str) -> None:
        self._cluster, self._observer, self._story = cluster, observer, story
        self._folder = folder
        self._results = {load.name: load.result() for load in story.loads}
        self.numbers = {
            "machine": {"cores": os.cpu_count()},
            "load": {
                "rate_per_second": story.rate,
                "cpu_seconds_per_reading": story.cpu_per_reading,
                "slo_seconds": SLO_MS / 1000,
            },
            "policies": {
                "adaptive": self._policy("adaptive", story.spans["settle"]),
                "round_robin": self._policy("round-robin", story.spans["round robin"]),
            },
            "weights": self._weights(),
            "events": self._events(),
            "connections": self._connections(),
            "readings": self._readings(),
        }

    def _mean_of(self, span: Span, column: str) -> dict[str, float]:
        samples = self._observer.between(*span)
        return {server.name: mean(s.servers[server.name][column] for s in samples) for server in self._cluster.servers}

    def _policy(self, load_name: str, span: Span) -> Numbers:
        span = settled(span)
        utilization = self._mean_of(span, "utilization")
        average = mean(utilization.values())
        return {
            **window(self._results[load_name], *span),
            "utilization": utilization,
            "max_over_average_utilization": max(utilization.values()) / average if average else 0.0,
        }

    def _true_shares(self, lost: dict[str, float] | None = None) -> dict[str, float]:
        """Returns each server's share of CPU. `lost` maps servers to cores that are unavailable to their own work."""
        left = {s.name: s.cores - (lost or {}).get(s.name, 0) for s in self._cluster.servers}
        return {name: cores / sum(left.values()) for name, cores in left.items()}

    def _flow_shares(self, span: Span) -> dict[str, float]:
        """Returns each server's share of new flows."""
        samples = self._observer.between(*span)
        flows = {
            s.name: samples[-1].servers[s.name]["flows"] - samples[0].servers[s.name]["flows"]
            for s in self._cluster.servers
        }
        return {name: count / max(1, sum(flows.values())) for name, count in flows.items()}

    def _weights(self) -> Any:
        spans = self._story.spans
        noisy = self._story.neighbour_server()
        quiet = self._mean_of(settled(spans["settle"]), "share")
        return {
            "cpu_limits_cores": {s.name: s.cores for s in self._cluster.servers},
            "true_shares": self._true_shares(),
            "settled_shares": quiet,
            "settled_flow_shares": self._flow_shares(settled(spans["settle"])),
            "neighbour": {
                "server": noisy.name,
                "share_before": quiet[noisy.name],
                "share_during": self._mean_of(settled(spans["neighbour"]), "share")[noisy.name],
                "true_share_during": self._true_shares({noisy.name: NEIGHBOUR_SHARE * noisy.cores})[noisy.name],
            },
            "controller_restart": {
                "before": self._story.weights_before_controller_kill,
                "after": self._story.weights_after_controller_restart,
            },
        }

    def _events(self) -> Numbers:
        spans, adaptive = self._story.spans, self._results["adaptive"]
        names = ("neighbour", "server killed", "server back", "controller killed", "controller back")
        return {name: window(adaptive, *spans[name]) for name in names}

    def _connections(self) -> Any:
        samples = self._observer.samples
        return {
            "client_connections": sum(r["connections"] + r["held"]["open"] for r in self._results.values()),
            "clients_at_once": max(s.clients for s in samples),
            "held_at_once": self._results["ten-thousand"]["held"]["open"],
            "long_connections_by_kernel": max(s.trunks_by_kernel for s in samples),
            "long_connections_by_metrics": max(s.trunks_by_metrics for s in samples),
            "bound": self._cluster.connection_bound(),
        }

    def _readings(self) -> Any:
        path = os.path.join(self._folder, "storecheck.json")
        arguments = [self._cluster.program("storecheck"), "--db", self._cluster.database, "--json", path]
        for load in self._story.loads:
            arguments += ["--acked", load.acked_path]
        output = subprocess.run(arguments, capture_output=True, text=True).stdout
        with open(path) as file:
            stored = json.load(file)
        # storecheck prints the first few wrong readings on indented lines.
        stored["examples"] = [line.strip() for line in output.splitlines() if line.startswith("  ")]
        results = self._results.values()
        return {
            **stored,
            "sent": sum(r["sent"] for r in results),
            "acknowledged_to_collectors": sum(r["acknowledged"] for r in results),
            "resends": sum(r["resends"] for r in results),
            "wrong_answers": sum(r["wrong_answers"] for r in results),
        }
