"""deploy/compose test: starts a cluster of its own, breaks it under load, checks what was lost and removes it."""

import os
import time
from collections.abc import Callable

import checks
import project
from project import Project

# Empty values take free ports, so that nothing collides.
PORTS = {"PROXY_1_PORT": "", "PROXY_2_PORT": "", "CONTROLLER_PORT": "", "PROMETHEUS_PORT": ""}
DATA = "/var/lib/metering"
# The servers have 0.7 cores, and a reading costs them 1.6 ms and its storage, so the load also fits while the second
# server is down. The run is twice as long as weights need to settle and four programs need to be killed and restarted.
LOAD_SECONDS = 150
LOAD = f"--no-burst --rate 100 --seconds {LOAD_SECONDS} --acked {DATA}/acked"
STARTED_SECONDS = 60
SETTLED_SECONDS = 90
BACK_SECONDS = 60
FINISHED_SECONDS = LOAD_SECONDS + 60
# Readings that must get through while a program is down; three seconds' worth.
MEANWHILE_READINGS = 300
MEANWHILE_SECONDS = 30
LOG_LINES = "15"


class Test:
    def __init__(self, cluster: Project) -> None:
        self.cluster = cluster
        self.started = time.monotonic()

    def check(self, sentence: str, attempt: Callable[[], str], seconds: float = 0) -> None:
        """Prints one line per check. The first failure ends the test, because later checks depend on earlier ones."""
        try:
            found = checks.eventually(seconds, attempt)
        except Exception as failure:
            raise checks.CheckFailed(f"{sentence}: {failure}") from failure
        self.say("ok", f"{sentence}: {found}")

    def say(self, verdict: str, text: str) -> None:
        indented = text.replace("\n", "\n" + " " * 15)
        print(f"{verdict:<4} {time.monotonic() - self.started:6.1f} s  {indented}", flush=True)

    def run(self) -> None:
        cluster = self.cluster
        self.say("", "building the images (the first time takes minutes)")
        cluster.build(quiet=True, profile="load")
        cluster.compose("up", "--detach")
        self.check("every container is confined", lambda: checks.containers_are_confined(cluster), STARTED_SECONDS)
        self.check("Prometheus scrapes every process", lambda: checks.targets_are_up(cluster), STARTED_SECONDS)
        self.check("agents measure their servers", lambda: checks.cpu_is_the_servers(cluster), STARTED_SECONDS)

        cluster.compose("up", "--detach", "--no-recreate", "collectors", profile="load")
        self.check("weights follow the CPU limits", lambda: checks.weights_follow_cpu(cluster), SETTLED_SECONDS)
        for service, is_back in (
            ("proxy-1", lambda: checks.proxy_is_connected(cluster, "proxy-1")),
            ("agent-2", lambda: checks.endpoint_is_fresh(cluster, "server-2")),
            ("server-2", lambda: checks.server_is_reachable(cluster, "server-2")),
            ("controller", lambda: checks.all_are_connected(cluster)),
        ):
            self.break_one(service, is_back)
        self.check("weights follow the CPU limits again", lambda: checks.weights_follow_cpu(cluster), SETTLED_SECONDS)

        self.check(
            "the collectors get every reading acknowledged",
            lambda: checks.collectors_finished(cluster),
            FINISHED_SECONDS,
        )
        self.check("every acknowledged reading is stored once", self.store_is_whole)
        self.check("Prometheus still scrapes every process", lambda: checks.targets_are_up(cluster), STARTED_SECONDS)
        self.check("every container is healthy", lambda: checks.containers_are_healthy(cluster), STARTED_SECONDS)

    def break_one(self, service: str, is_back: Callable[[], str]) -> None:
        cluster = self.cluster
        cluster.docker("kill", cluster.container(service))
        before = checks.acknowledged(cluster)
        self.check(
            f"{service} is killed, the load goes on",
            lambda: checks.more_acknowledged(cluster, before, MEANWHILE_READINGS),
            MEANWHILE_SECONDS,
        )
        cluster.docker("start", cluster.container(service))
        self.check(f"{service} is back", is_back, BACK_SECONDS)

    def store_is_whole(self) -> str:
        """Runs storecheck in a container of the collectors' image, with the servers' and collectors' files."""
        return self.cluster.docker(
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--entrypoint=storecheck",
            "--volume",
            f"{self.cluster.name}_readings:/readings",
            "--volume",
            f"{self.cluster.name}_collected:{DATA}",
            "trunkline/collectors",
            "--acked",
            f"{DATA}/acked",
            "--db",
            "/readings/readings.db",
        ).strip()

    def show_logs(self) -> None:
        for name, item in sorted(self.cluster.containers().items()):
            print(
                f"--- {name} ({item['State']['Status']})\n"
                + self.cluster.docker("logs", "--tail", LOG_LINES, item["Id"]),
                flush=True,
            )


def run(base_image: str, before_teardown: Callable[[], None]) -> int:
    """Runs the test and returns the exit code. `before_teardown` is called when nothing may interrupt any more."""
    cluster = project.Project(f"trunkline-test-{os.getpid()}", base_image, {**PORTS, "COLLECTORS_FLAGS": LOAD})
    test = Test(cluster)
    passed = False
    try:
        test.run()
        passed = True
    except (checks.CheckFailed, project.CommandFailed) as failure:
        test.say("FAIL", str(failure))
        test.show_logs()
    finally:
        before_teardown()
        cluster.down()
        left = cluster.left_behind()
        if left:
            test.say("FAIL", f"left behind: {', '.join(left)}")
        else:
            test.say("ok", "nothing is left behind")
    print("passed" if passed and not left else "failed", flush=True)
    return 0 if passed and not left else 1
