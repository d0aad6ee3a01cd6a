"""TLS trunks between real programs, with certificates made by the commands in docs/operations.md."""

import pathlib
import re
import subprocess
from collections.abc import Callable

import pytest

from cluster import BIN_DIR, Agent, Cluster, Config, Program
from processes import run
from servers import EchoServer, ServerStarter
from traffic import ask, ask_many
from waiting import eventually, found

# Returns the `trunk_tls` setting for a certificate's name.
Certificates = Callable[[str], Config]

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def certificates(cluster: Cluster) -> Certificates:
    """Returns a function from a name, store-1 or proxy-1, to its `trunk_tls` setting."""
    section = _PAGE.read_text().split("### TLS on trunks")[1]
    script = found(r"```sh\n(.*?)```", section, re.DOTALL)
    subprocess.run(["sh", "-e", "-c", script], cwd=cluster.folder, check=True, capture_output=True)
    return lambda name: {
        "ca_file": str(cluster.path("trunks-ca.pem")),
        "cert_file": str(cluster.path(f"{name}.pem")),
        "key_file": str(cluster.path(f"{name}.key")),
    }


@pytest.fixture
def agent_with_tls(cluster: Cluster, servers: ServerStarter, certificates: Certificates) -> Agent:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    return cluster.add_agent("a", {"echo": server.address}, trunk_tls=certificates("store-1"))


def _expect_one_line(program: Program, words: str) -> None:
    """Expects one line with these words, although the proxy dials many times."""
    eventually(f"the log says: {words}", lambda: words in program.log())
    assert program.log().count(words) == 1


def test_clients_are_served_over_tls_trunks(
    cluster: Cluster, certificates: Certificates, agent_with_tls: Agent
) -> None:
    proxy = cluster.add_proxy(trunk_tls=certificates("proxy-1"))
    cluster.start()
    assert sum(ask_many(proxy, 100).values()) == 100
    assert proxy.metric("proxy_trunk_tls_failures_total") == 0


def test_plain_proxy_gets_no_trunk_and_the_other_one_goes_on(
    cluster: Cluster, certificates: Certificates, agent_with_tls: Agent
) -> None:
    good = cluster.add_proxy(trunk_tls=certificates("proxy-1"))
    cluster.start()
    plain = cluster.add_proxy("plain")
    plain.start()
    eventually("the agent counts it", lambda: agent_with_tls.metric("agent_trunk_tls_failures_total") > 0)
    eventually("the proxy counts it", lambda: plain.metric("proxy_trunk_tls_failures_total") > 0)
    port = agent_with_tls.trunk_port
    _expect_one_line(plain, f"no trunk to 127.0.0.1:{port}: the peer speaks TLS and this end does not")
    _expect_one_line(agent_with_tls, "a trunk from 127.0.0.1 was refused: the peer speaks plain HTTP/2")
    assert ask(good)


def test_proxy_with_tls_gets_no_trunk_to_a_plain_agent(
    cluster: Cluster, certificates: Certificates, servers: ServerStarter
) -> None:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    plain = cluster.add_agent("a", {"echo": server.address})
    good = cluster.add_proxy()
    cluster.start()
    proxy = cluster.add_proxy("tls", trunk_tls=certificates("proxy-1"))
    proxy.start()
    eventually("the agent counts it", lambda: plain.metric("agent_trunk_tls_failures_total") > 0)
    eventually("the proxy counts it", lambda: proxy.metric("proxy_trunk_tls_failures_total") > 0)
    port = plain.trunk_port
    _expect_one_line(proxy, f"no trunk to 127.0.0.1:{port}: the peer speaks plain HTTP/2 and this end expects TLS")
    _expect_one_line(plain, "a trunk from 127.0.0.1 was refused: the peer speaks TLS and this end does not")
    assert ask(good)


def test_proxy_with_an_agents_certificate_is_rejected(
    cluster: Cluster, certificates: Certificates, agent_with_tls: Agent
) -> None:
    cluster.add_proxy(trunk_tls=certificates("proxy-1"))
    cluster.start()
    wrong = cluster.add_proxy("wrong", trunk_tls=certificates("store-1"))
    wrong.start()
    eventually("the agent counts it", lambda: agent_with_tls.metric("agent_trunk_tls_failures_total") > 0)
    eventually("the proxy says so", lambda: "no trunk to" in wrong.log())
    # OpenSSL 3 says "unsuitable certificate purpose", older versions "unsupported certificate purpose".
    eventually("the agent says why", lambda: "certificate purpose" in agent_with_tls.log())


@pytest.mark.parametrize("check", [["--check-config"], []], ids=["check", "start"])
@pytest.mark.parametrize(
    "name, head",
    [
        ("trunkline-proxy", "proxy_id: p\ncontroller: 127.0.0.1:7070\n"),
        (
            "trunkline-agent",
            "agent_id: a\ncontroller: 127.0.0.1:7070\nservices: [{service: echo, target: 'unix:/x'}]\n",
        ),
    ],
)
def test_missing_file_is_named_with_its_setting(
    name: str, head: str, check: list[str], cluster: Cluster, certificates: Certificates
) -> None:
    files = {**certificates("proxy-1"), "key_file": "/nowhere/trunk.key"}
    path = cluster.path("config.yaml")
    path.write_text(head + "trunk_tls:\n" + "".join(f"  {key}: {value}\n" for key, value in files.items()))
    result = run([BIN_DIR / name, "--config", path, *check], check=False)
    assert result.returncode == 2, result
    assert "trunk_tls.key_file: /nowhere/trunk.key: No such file or directory" in result.stderr
