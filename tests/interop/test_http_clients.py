"""curl and nghttp at an agent's trunk port.

HTTP clients that connect by mistake are told so at once, and nghttp2's own client agrees with the agent's flow control,
SETTINGS and PING.
"""

import subprocess

import pytest

from cluster import Agent, Cluster
from processes import run, tool
from servers import EchoServer, ServerStarter


@pytest.fixture
def agent(cluster: Cluster, servers: ServerStarter) -> Agent:
    cluster.add_controller({"echo": {}})
    return cluster.add_agent("a", {"echo": servers(EchoServer).address}).start()


def url(agent: Agent) -> str:
    return f"http://127.0.0.1:{agent.trunk_port}/"


def curl(agent: Agent, *options: object) -> subprocess.CompletedProcess[str]:
    return run(
        [
            tool("curl"),
            "-sS",
            "--max-time",
            10,
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
            *options,
            url(agent),
        ],
        check=False,
    )


def test_curl_gets_405_for_get(agent: Agent) -> None:
    for options in ([], ["--head"], ["--request", "OPTIONS"]):
        assert curl(agent, "--http2-prior-knowledge", *options).stdout == "2 405", options


def test_curl_does_not_hang_with_an_unread_body(agent: Agent) -> None:
    report = curl(agent, "--http2-prior-knowledge", "--data-binary", f"@{agent.config_path}")
    # 92: curl 7.88 drops an answer that is followed by RST_STREAM(NO_ERROR), which RFC 9113, 8.1, forbids it.
    assert report.stdout == "2 405" or report.returncode == 92, report


def test_curl_without_http2_is_closed_at_once(agent: Agent) -> None:
    report = curl(agent)
    # HTTP/2 frames are not a valid HTTP/1.1 answer: exit codes 1 and 8 mean malformed, 52 empty, 56 reset. A timeout
    # would be 28.
    assert report.returncode in (1, 8, 52, 56), report


def test_nghttp_sees_a_well_formed_answer_and_end(agent: Agent, cluster: Cluster) -> None:
    body = cluster.path("body")
    # The body exceeds the stream's window, so the upload would hang if the agent did not end the stream.
    body.write_bytes(bytes(1_000_000))
    for options in ([], ["--data", body], ["--trailer", "a: b", "--data", body]):
        report = run([tool("nghttp"), "--verbose", "--timeout", 10, *options, url(agent)], check=False)
        assert ":status: 405" in report.stdout, report
        assert "[ERROR]" not in report.stdout + report.stderr, report
        assert "error_code=PROTOCOL_ERROR" not in report.stdout, report


def test_h2load_asks_many_times_over_few_trunks(agent: Agent) -> None:
    report = run([tool("h2load"), "-n", 5000, "-c", 4, "-m", 50, url(agent)]).stdout
    assert "5000 done" in report and "0 errored" in report and "0 timeout" in report, report
    assert "5000 4xx" in report, report
