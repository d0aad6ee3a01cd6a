"""One run of the collectors: starts it, reads its progress line, and reads its result at the end."""

import json
import os
import re

from children import Children, Numbers
from cluster import Cluster

_PROGRESS = re.compile(
    r"sent (?P<sent>\d+)  acknowledged (?P<acknowledged>\d+)  in flight (?P<in_flight>\d+)"
    r"  p50 (?P<p50>[\d.]+) ms  p99 (?P<p99>[\d.]+) ms  late (?P<late>\d+)  resends (?P<resends>\d+)"
    r"  held (?P<held>\d+)"
)
SLO_MS = 200
# Begin and end in Unix time.
Span = tuple[float, float]


class Load:
    def __init__(
        self,
        cluster: Cluster,
        children: Children,
        folder: str,
        name: str,
        service: str,
        rate: float,
        seconds: float,
        seed: int,
        keep: bool = False,
    ) -> None:
        self.name = name
        self.rate = rate
        self.acked_path = os.path.join(folder, f"{name}.acked")
        self._json_path = os.path.join(folder, f"{name}.json")
        arguments = [
            cluster.program("collectors"),
            "--collectors",
            10_000,
            "--no-burst",
            "--rate",
            f"{rate:.1f}",
            "--seconds",
            f"{seconds:.1f}",
            "--seed",
            seed,
            "--slo",
            f"{SLO_MS}ms",
            "--acked",
            self.acked_path,
            "--json",
            self._json_path,
        ]
        for target in cluster.targets(service):
            arguments += ["--target", target]
        if keep:
            arguments.append("--keep")
        self.child = children.start(f"collectors-{name}", arguments)
        self.child.expected_to_run = False  # the collectors end by themselves

    def progress(self) -> dict[str, float] | None:
        """Returns the newest second's numbers, or None before there are any."""
        match = _PROGRESS.search(self.child.last_line())
        return {key: float(value) for key, value in match.groupdict().items()} if match else None

    def stop_sending(self) -> None:
        """Stops sending. The collectors end once everything sent is acknowledged."""
        self.child.ask_to_stop()

    def running(self) -> bool:
        return self.child.exit_code() is None

    def result(self) -> Numbers:
        """Returns the numbers that the collectors wrote at their end."""
        with open(self._json_path) as file:
            return json.load(file)


def window(result: Numbers, begin_unix: float, end_unix: float) -> Numbers:
    """Returns sent, missed and p99 of the readings scheduled within a span."""
    sent = misses = 0
    p99 = []
    for second in result["series"]:
        at = result["started_unix"] + second["second"]
        if begin_unix <= at and at + 1 <= end_unix and second["sent"]:
            sent += second["sent"]
            misses += second["misses"]
            p99.append(second["latency_seconds"]["p99"])
    return {
        "sent": sent,
        "misses": misses,
        "miss_ratio": misses / sent if sent else 0.0,
        "median_p99_seconds": sorted(p99)[len(p99) // 2] if p99 else 0.0,
    }
