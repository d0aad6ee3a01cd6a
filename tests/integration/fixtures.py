"""Fixtures of tests that run real processes; a conftest.py imports them.

A failed test's report includes the end of the log of every process of its cluster.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from cluster import Cluster
from servers import Closable, S, ServerStarter

_CLUSTER = pytest.StashKey[Cluster]()
_LOGS = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Yields an empty cluster. After the test it is ended, checked for unclean ends and removed."""
    cluster = Cluster()
    request.node.stash[_CLUSTER] = cluster
    yield cluster
    problems = cluster.close()
    request.node.stash[_LOGS] = cluster.logs()
    cluster.remove()
    assert not problems, "\n".join(problems)


@pytest.fixture
def servers() -> Iterator[ServerStarter]:
    """Yields a function that starts a server in the test's process until the test ends: servers(EchoServer, "name")."""
    started: list[Closable] = []

    def start(kind: Callable[..., S], *arguments: Any, **options: Any) -> S:
        server = kind(*arguments, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    logs = item.stash.get(_LOGS, None)
    if logs is None and _CLUSTER in item.stash:
        logs = item.stash[_CLUSTER].logs()
    for name, tail in logs or []:
        report.sections.append((f"log of {name}", tail))
