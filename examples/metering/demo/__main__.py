"""Runs the metering demo on one machine, from unequal servers to a killed controller, in about a minute.

    python3 examples/metering/demo [--seconds N] [--json FILE] [--check]

Started by `./dev demo`, which builds the programs first and names their folder in TRUNKLINE_BIN_DIR.
"""

import argparse
import glob
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from checks import checks_of
from children import Children, Failure, Numbers
from cluster import Cluster
from cpu_limits import LimitMaker
from findings import Findings
from interrupts import ignore_stop_signals, raise_on_stop_signals
from live_table import LiveTable
from observer import Observer
from story import SHORTEST_SECONDS, USUAL_SECONDS, Story
from summary import summary_of

PROGRAMS = (
    "trunkline-controller",
    "trunkline-proxy",
    "trunkline-agent",
    "trunkctl",
    "meterstore",
    "collectors",
    "storecheck",
)
# Share of each core for the three servers together; proxies, agents, collectors and the system use the rest.
SERVERS_SHARE_OF_CORE = 0.45
# Upper bound on the servers' CPU, so that one generator can load them.
MOST_CORES = 1.8
INTERRUPTED = 130


def parse_arguments() -> argparse.Namespace:
    here = os.path.dirname(os.path.abspath(__file__))
    built = os.path.normpath(os.path.join(here, "..", "..", "..", "build", "bin"))
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=USUAL_SECONDS,
        help=f"length of the measured parts ({USUAL_SECONDS}; at least {SHORTEST_SECONDS})",
    )
    parser.add_argument("--json", metavar="FILE", help="write every number here")
    parser.add_argument("--check", action="store_true", help="exit 1 unless all that is promised held")
    parser.add_argument("--logs", metavar="FOLDER", help="leave every process's log here")
    parser.add_argument(
        "--limit",
        choices=("auto", "cgroup1", "cgroup2", "process"),
        default="auto",
        help="how the servers' CPU is limited (auto: the first of these that works)",
    )
    parser.add_argument("--bin", default=os.environ.get("TRUNKLINE_BIN_DIR", built), help="folder of the programs")
    arguments = parser.parse_args()
    if arguments.seconds < SHORTEST_SECONDS:
        parser.error(f"--seconds {arguments.seconds:g}: the weights need at least {SHORTEST_SECONDS} s")
    missing = [p for p in PROGRAMS if not os.access(os.path.join(arguments.bin, p), os.X_OK)]
    if missing:
        parser.error(f"{arguments.bin} lacks {', '.join(missing)}: build first (./dev build)")
    return arguments


def play(arguments: argparse.Namespace, folder: str, children: Children, limits: LimitMaker) -> Numbers:
    """Runs the whole demo and returns its numbers."""
    total_cores = min(MOST_CORES, SERVERS_SHARE_OF_CORE * (os.cpu_count() or 1))
    cluster = Cluster(arguments.bin, folder, children, limits, total_cores)
    table = LiveTable(cluster)
    table.say(
        f"A controller, two proxies, and three storage servers with "
        f"{', '.join(f'{s.cores:.2f}' for s in cluster.servers)} cores ({limits.kind} limits)."
    )
    cluster.start()
    observer = Observer(cluster)
    story = Story(cluster, children, observer, table, folder, arguments.seconds)
    story.run()
    numbers = Findings(cluster, observer, story, folder).numbers
    numbers["checks"] = checks_of(numbers)
    table.say("")
    for line in summary_of(numbers):
        table.say(line)
    return numbers


def keep_logs(folder: str, destination: str) -> None:
    os.makedirs(destination, exist_ok=True)
    for pattern in ("*.log", "*.yaml"):
        for path in glob.glob(os.path.join(folder, pattern)):
            shutil.copy(path, destination)


def main() -> int:
    arguments = parse_arguments()
    raise_on_stop_signals()
    folder = tempfile.mkdtemp(prefix="trunkline-demo-")
    children, limits = Children(folder), None
    try:
        limits = LimitMaker(arguments.limit)
        numbers = play(arguments, folder, children, limits)
    except KeyboardInterrupt:
        print("\nInterrupted; stopping everything.", file=sys.stderr)
        return INTERRUPTED
    except (Failure, ValueError) as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    finally:
        # A second Ctrl-C must not interrupt the cleanup.
        ignore_stop_signals()
        children.stop_all()
        if limits:
            limits.remove_all()
        if arguments.logs:
            keep_logs(folder, arguments.logs)
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(numbers, file, indent=2)
            file.write("\n")
    held = all(check["ok"] for check in numbers["checks"])
    return 1 if arguments.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
