"""Summarizes the numbers as tables and sentences for a reader."""

from collections.abc import Iterator
from typing import Any

from children import Numbers
from load import SLO_MS


def summary_of(numbers: Numbers) -> Iterator[str]:
    """Yields the lines of the summary."""
    yield "What happened"
    yield from _load(numbers["load"])
    yield ""
    yield from _weights(numbers["weights"])
    yield ""
    yield from _policies(numbers["policies"])
    yield ""
    for name, event in numbers["events"].items():
        yield f"  {name:<18}{event['sent']:>6} readings, {event['misses']:>4} missed {SLO_MS} ms"
    yield ""
    yield from _connections(numbers["connections"])
    yield from _readings(numbers["readings"])
    yield ""
    for check in numbers["checks"]:
        yield f"  {'ok  ' if check['ok'] else 'FAIL'}  {check['what']}: {check['found']}"


def _load(load: Numbers) -> Iterator[str]:
    cost = load["cpu_seconds_per_reading"] * 1e3
    yield f"  load: {load['rate_per_second']:.0f} readings/s, {cost:.2f} ms of CPU each"


def _weights(weights: Numbers) -> Any:
    yield f"  {'server':<10}{'CPU limit':>11}{'share of CPU':>14}{'of weight':>11}{'of flows':>10}"
    for name, cores in weights["cpu_limits_cores"].items():
        yield (
            f"  {name:<10}{f'{cores:.2f} cores':>11}{weights['true_shares'][name]:>14.1%}"
            f"{weights['settled_shares'][name]:>11.1%}{weights['settled_flow_shares'][name]:>10.1%}"
        )


def _policies(policies: Numbers) -> Iterator[str]:
    misses = f"missed {SLO_MS} ms"
    yield f"  {'same load under':<16}{'max/avg utilization':>21}{misses:>15}{'p99':>9}  utilization"
    for name, policy in policies.items():
        each = ", ".join(f"{u:.0%}" for u in policy["utilization"].values())
        yield (
            f"  {name:<16}{policy['max_over_average_utilization']:>21.2f}"
            f"{policy['miss_ratio']:>15.2%}{policy['median_p99_seconds'] * 1e3:>6.0f} ms  {each}"
        )


def _connections(connections: Numbers) -> Any:
    yield (
        f"  {connections['client_connections']} client connections, up to "
        f"{connections['clients_at_once']} at once, over "
        f"{connections['long_connections_by_kernel']} long connections "
        f"(at most {connections['bound']})"
    )


def _readings(readings: Numbers) -> Any:
    yield (
        f"  {readings['acknowledged']} readings acknowledged, {readings['stored']} stored "
        f"({readings['unacknowledged']} of them never acknowledged) after {readings['resends']} resends: "
        f"missing {readings['missing']}, duplicated {readings['duplicated']}, "
        f"corrupted {readings['corrupted']}"
    )
    yield from (f"    {example}" for example in readings["examples"])
