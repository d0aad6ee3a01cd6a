"""Checks that an agent measures the process behind its server's TCP port, and follows it, with nothing configured."""

import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

import pytest

from cluster import Agent, Cluster
from ports import reserve_port
from waiting import eventually

# Listens on a port; a forked child serves. With "busy", the child also uses CPU all the time.
_SERVER = """
import ctypes, os, select, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(100)
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: SIGKILL
    listener.setblocking(False)
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            if sys.argv[2] != "busy":
                select.select([listener], [], [])
print("ready", flush=True)
os.wait()
"""


class Server:
    """A process with a child, both of which hold the socket that listens on `port`."""

    def __init__(self, cluster: Cluster, name: str, behaviour: str = "idle", inside: Sequence[str] = ()) -> None:
        self.port = reserve_port()
        command = [*inside, sys.executable, "-c", _SERVER, self.port, behaviour]
        self.process = cluster.add_process(f"server-{name}", command)
        self.start()

    def start(self) -> None:
        self.process.start()
        self.process.wait_for_line("ready")

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


def chosen(agent: Agent, reason: str) -> re.Match[str]:
    """Waits until the agent logs the choice of a CPU source with `reason`, a pattern."""
    return agent.wait_for_line(rf"CPU is read from ([\w ]+) \((\d+\.\d+) cores\): {reason}")


def some_reports(agent: Agent, count: int) -> None:
    wanted = agent.metric("agent_reports_sent_total") + count
    eventually(f"{count} reports", lambda: agent.metric("agent_reports_sent_total") >= wanted)


def test_servers_on_one_host_report_their_own_cpu(cluster: Cluster) -> None:
    cluster.add_controller({"echo": {}}).start()
    agents = {}
    for name in ("busy", "idle"):
        server = Server(cluster, name, name)
        agents[name] = cluster.add_agent(name, {"echo": server.target}).start()
        source = chosen(agents[name], rf"the server is process \S+ \({server.process.pid}\)")
        if source.group(1) != "processes":
            pytest.skip("the tests run under a CPU quota, so all servers here share one group")

    def apart() -> bool:
        busy, idle = (agents[name].metric("agent_cpu_utilization", source="processes") for name in ("busy", "idle"))
        return busy > 10 * idle and idle < 0.05

    eventually("the busy server is seen, and the idle one is not taken for it", apart)
    with pytest.raises(LookupError):
        agents["busy"].metric("agent_cpu_throttled")


def test_restarted_server_is_followed(cluster: Cluster) -> None:
    cluster.add_controller({"echo": {}}).start()
    server = Server(cluster, "a")
    agent = cluster.add_agent("a", {"echo": {"target": server.target, "cpu_source": "processes"}}).start()
    chosen(agent, rf"as configured: the server is process \S+ \({server.process.pid}\)")
    server.process.kill()
    agent.wait_for_line(r"CPU is unknown and not reported: no socket in .* listens on " + re.escape(server.target))
    server.start()
    chosen(agent, rf"as configured: the server is process \S+ \({server.process.pid}\)")
    agent.wait_for_line("CPU is readable again")


def test_process_of_another_user_is_named_with_the_remedy(cluster: Cluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a server and an agent as two users")
    cluster.add_controller({"echo": {}}).start()
    server = Server(cluster, "a")
    agent = cluster.add_agent("a", {"echo": server.target})
    agent.user = "daemon"
    agent.start()
    choice = chosen(agent, r".*the agent may not read .*set pid_file or cgroup_path")
    assert choice.group(1) in ("host", "cgroup v1", "cgroup v2")
    assert server.target in choice.string[choice.start() : choice.string.index("\n", choice.start())]
    some_reports(agent, 12)
    assert len(re.findall("may not read", agent.log())) == 1
    assert agent.metric("agent_source_unreadable", source="cpu") == 0


class CpuGroup:
    """A control group, of version 1 or 2, with a CPU quota."""

    def __init__(self, name: str) -> None:
        root = pathlib.Path("/sys/fs/cgroup")
        v1 = (root / "cpu" / "cpu.cfs_quota_us").exists()
        self.folders = [root / controller / name for controller in ("cpu", "cpuacct")] if v1 else [root / name]
        try:
            for folder in self.folders:
                folder.mkdir()
            if v1:
                (self.folders[0] / "cpu.cfs_period_us").write_text("100000")
                (self.folders[0] / "cpu.cfs_quota_us").write_text("25000")
            else:
                (self.folders[0] / "cpu.max").write_text("25000 100000")
        except OSError as error:
            self.removed()
            pytest.skip(f"no control group with a CPU quota can be made: {error}")

    def command(self) -> list[str]:
        """Returns a command that runs the command after it inside the group."""
        script = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
        return ["sh", "-c", script, "sh", *map(str, self.folders), "--"]

    def removed(self) -> bool:
        """Removes the group; raises OSError while a process is in it."""
        for folder in self.folders:
            if folder.exists():
                folder.rmdir()
        return True


@pytest.fixture
def group() -> Iterator[CpuGroup]:
    made = CpuGroup(f"trunkline-test-{os.getpid()}")
    yield made
    # The cluster fixture has ended the server before.
    eventually("the group is empty", made.removed)


def test_quota_of_the_servers_group_is_its_limit(group: CpuGroup, cluster: Cluster) -> None:
    cluster.add_controller({"echo": {}}).start()
    server = Server(cluster, "a", "busy", group.command())
    agent = cluster.add_agent("a", {"echo": server.target}).start()
    name = re.escape(str(group.folders[0]))
    quota = rf"and its group {name} has a quota of 0\.25 cores"
    source = chosen(agent, rf"the server is process \S+ \({server.process.pid}\), {quota}")
    assert source.group(1).startswith("cgroup v")
    assert source.group(2) == "0.25"
    eventually("the limit is the quota", lambda: agent.metric("agent_cpu_limit_cores") == 0.25)
    eventually("the quota is used up", lambda: agent.metric("agent_cpu_utilization") > 0.5)
    eventually("the quota stops the server", lambda: agent.metric("agent_cpu_throttled") > 0.1)

    def shown() -> bool:
        item = cluster.ctl_json("endpoints", "echo")["endpoints"][0]["weight"]
        terms = {term["name"]: term for term in cluster.ctl_json("explain", "echo", "a")["terms"]}
        return item.get("cpu_throttled", 0) > 0.1 and terms["throttled"].get("value", 0) > 0.1

    eventually("trunkctl shows it", shown)
    assert "THROTTLED" in cluster.ctl("endpoints").stdout

    # A restarted server is in the same group.
    server.process.kill()
    server.start()
    chosen(agent, rf"the server is process \S+ \({server.process.pid}\), {quota}")
    assert agent.metric("agent_cpu_limit_cores") == 0.25
