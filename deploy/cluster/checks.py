"""The checks of a running cluster. Each returns a description of what it found, or raises CheckFailed."""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from project import Project

T = TypeVar("T")

SERVICE = "metering"
# In descending order of their CPU in compose.yaml.
SERVERS = ("server-1", "server-2", "server-3")
PROXIES = ("proxy-1", "proxy-2")
TARGETS = {"controller": 1, "proxy": 2, "agent": 3, "prometheus": 1}
RUNNING = {"controller", "prometheus", *PROXIES, *SERVERS, "agent-1", "agent-2", "agent-3"}
HTTP_SECONDS = 5
POLL_SECONDS = 0.5
# Least ratio between the weights of servers with 0.4, 0.2 and 0.1 of a core, and how long it must hold.
WEIGHT_RATIO = 1.25
WEIGHT_HOLDS_SECONDS = 5


class CheckFailed(Exception):
    pass


def eventually(seconds: float, attempt: Callable[[], T]) -> T:
    """Returns the first result of `attempt` that raises nothing; raises its last complaint if none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (CheckFailed, OSError, ValueError, RuntimeError) as complaint:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{complaint} (for {seconds} s)") from complaint
        time.sleep(POLL_SECONDS)


def containers_are_confined(cluster: Project) -> str:
    containers = cluster.containers()
    missing = RUNNING - {name for name, item in containers.items() if item["State"]["Running"]}
    if missing:
        raise CheckFailed(f"not running: {', '.join(sorted(missing))}")
    for name, item in containers.items():
        host = item["HostConfig"]
        wrong = [
            what
            for what, holds in (
                ("runs as root", item["Config"]["User"] not in ("", "root", "0")),
                ("has a writable root", host["ReadonlyRootfs"]),
                ("keeps capabilities", host["CapDrop"] == ["ALL"] and not host["CapAdd"]),
                ("may gain privileges", "no-new-privileges:true" in host["SecurityOpt"]),
                ("has no healthcheck", "Healthcheck" in item["Config"]),
            )
            if not holds
        ]
        if wrong:
            raise CheckFailed(f"{name} {', '.join(wrong)}")
    return f"{len(containers)} containers"


def containers_are_healthy(cluster: Project) -> str:
    health = {name: item["State"]["Health"]["Status"] for name, item in cluster.containers().items() if name in RUNNING}
    ill = [f"{name} is {status}" for name, status in health.items() if status != "healthy"]
    if ill:
        raise CheckFailed(", ".join(ill))
    return f"{len(health)} containers"


def ask_prometheus(cluster: Project, path: str, **parameters: Any) -> Any:
    url = f"http://{cluster.published('prometheus', 9090)}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=HTTP_SECONDS) as answer:
        return json.load(answer)["data"]


def targets_are_up(cluster: Project) -> str:
    targets = ask_prometheus(cluster, "targets", state="active")["activeTargets"]
    up: dict[str, int] = {}
    for target in targets:
        if target["health"] != "up":
            raise CheckFailed(f"{target['scrapeUrl']} is {target['health']}: {target['lastError']}")
        up[target["labels"]["job"]] = up.get(target["labels"]["job"], 0) + 1
    if up != TARGETS:
        raise CheckFailed(f"Prometheus has the targets {up}, not {TARGETS}")
    return f"{len(targets)} targets"


def controller(cluster: Project, *command: str) -> Any:
    return json.loads(cluster.execute("controller", "trunkctl", "--json", *command))


def weights(cluster: Project) -> dict[str, Any]:
    """Returns trunkctl's description of each endpoint's weight, by endpoint id."""
    table = controller(cluster, "weights", SERVICE)
    return {item["endpoint_id"]: item for service in table["services"] for item in service["endpoints"]}


def weights_follow_cpu(cluster: Project) -> str:
    """Checks the order of weights several times, because it must hold."""
    until = time.monotonic() + WEIGHT_HOLDS_SECONDS
    while True:
        found = weights(cluster)
        text = ", ".join(f"{name} {found[name]['weight']:.2f}" for name in SERVERS if name in found)
        values = [found[name]["weight"] if name in found else 0 for name in SERVERS]
        if not values[0] > WEIGHT_RATIO * values[1] or not values[1] > WEIGHT_RATIO * values[2] or not values[2] > 0:
            raise CheckFailed(f"weights are {text}")
        if time.monotonic() > until:
            return text
        time.sleep(POLL_SECONDS)


def cpu_is_the_servers(cluster: Project) -> str:
    """Checks that agents measure their servers' cgroups, with the servers' quotas, not their own."""
    endpoints = controller(cluster, "endpoints", SERVICE)["endpoints"]
    cores = {item["weight"]["endpoint_id"]: item["cores"] for item in endpoints}
    if [round(cores.get(name, 0), 3) for name in SERVERS] != [0.4, 0.2, 0.1]:
        raise CheckFailed(f"agents report these cores: {cores}")
    sources = {item["cpu_source"] for item in endpoints}
    if not all(source.startswith("cgroup") for source in sources):
        raise CheckFailed(f"CPU is read from {sources}")
    return f"{cores}, from {', '.join(sorted(sources))}"


def endpoint_is_fresh(cluster: Project, name: str) -> str:
    item = weights(cluster).get(name)
    if not item or item["state"] != "ENDPOINT_STATE_FRESH":
        raise CheckFailed(f"{name} is {item['state'] if item else 'unknown'}")
    return f"{name} reports"


def server_is_reachable(cluster: Project, name: str) -> str:
    for item in controller(cluster, "endpoints", SERVICE)["endpoints"]:
        if item["weight"]["endpoint_id"] == name and item["reachable"]:
            return f"{name} accepts connections"
    raise CheckFailed(f"{name} accepts no connections")


def proxy_is_connected(cluster: Project, name: str) -> str:
    for item in controller(cluster, "proxies")["proxies"]:
        if item["proxy_id"] == name and item["connected"] and not item["last_error"]:
            return f"{name} holds snapshot {item['acked']['epoch']}/{item['acked']['version']}"
    raise CheckFailed(f"{name} is not connected to the controller")


def all_are_connected(cluster: Project) -> str:
    for name in PROXIES:
        proxy_is_connected(cluster, name)
    for name in SERVERS:
        endpoint_is_fresh(cluster, name)
    return f"{len(PROXIES)} proxies subscribe and {len(SERVERS)} agents report"


def acknowledged(cluster: Project) -> int:
    """Returns the readings acknowledged so far, from the collectors' last progress line."""
    log = cluster.docker("logs", "--tail", "5", cluster.container("collectors"))
    counts = re.findall(r"acknowledged\s+(\d+)", log)
    if not counts:
        raise CheckFailed(f"no progress line in the collectors' log: {log.strip() or 'it is empty'}")
    return int(counts[-1])


def more_acknowledged(cluster: Project, before: int, wanted: int) -> str:
    now = acknowledged(cluster)
    if now < before + wanted:
        raise CheckFailed(f"{now - before} readings acknowledged, {wanted} expected")
    return f"{now - before} readings acknowledged"


def collectors_finished(cluster: Project) -> str:
    state = cluster.containers()["collectors"]["State"]
    if state["Running"]:
        raise CheckFailed("the collectors still run")
    log = cluster.docker("logs", "--tail", "7", cluster.container("collectors"))
    if state["ExitCode"] != 0:
        raise CheckFailed(f"the collectors end with exit code {state['ExitCode']}:\n{log}")
    return log.strip()
