"""The cost of a pick by the number of endpoints."""

import json
import subprocess

from bench_processes import bin_dir

BAR_NANOS = 50


def pick_nanos() -> dict[int, float]:
    """Returns the median CPU time of a pick in nanoseconds by the number of endpoints."""
    output = subprocess.run(
        [
            bin_dir() / "pick_bench",
            "--benchmark_format=json",
            "--benchmark_repetitions=5",
            "--benchmark_report_aggregates_only=true",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {
        int(run["run_name"].split("/")[1]): run["cpu_time"]
        for run in json.loads(output)["benchmarks"]
        if run["aggregate_name"] == "median"
    }


def describe_picks(nanos: dict[int, float]) -> bool:
    """Prints the table. Returns true if every cost is below the bar."""
    for endpoints, cost in nanos.items():
        print(f"{endpoints:>5} endpoints  {cost:6.1f} ns")
    slowest = max(nanos.values())
    print(f"slowest: {slowest:.1f} ns (bar: below {BAR_NANOS})", flush=True)
    return slowest < BAR_NANOS
