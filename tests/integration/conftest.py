"""The fixtures of the integration tests."""

from fixtures import cluster, pytest_runtest_makereport, servers  # noqa: F401
