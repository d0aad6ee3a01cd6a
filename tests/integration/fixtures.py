"""Fixtures of tests that run real processes; a conftest.py takes them in. What fails is shown with the logs of every process of its cluster."""

import pytest

from cluster import Cluster
from servers import EchoServer

_CLUSTER = pytest.StashKey[Cluster]()
_LOGS = pytest.StashKey[list]()


@pytest.fixture
def cluster(request):
    """An empty cluster; ended, judged and removed after the test."""
    cluster = Cluster()
    request.node.stash[_CLUSTER] = cluster
    yield cluster
    problems = cluster.close()
    request.node.stash[_LOGS] = cluster.logs()
    cluster.remove()
    assert not problems, "\n".join(problems)


@pytest.fixture
def servers():
    """Starts servers inside the test's process: servers(EchoServer, "name"), stopped after the test."""
    started = []

    def start(kind=EchoServer, *arguments, **options):
        started.append(kind(*arguments, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    logs = item.stash.get(_LOGS, None)
    if logs is None and _CLUSTER in item.stash:
        logs = item.stash[_CLUSTER].logs()
    for name, tail in logs or []:
        report.sections.append((f"log of {name}", tail))
