"""The interoperability tests use the processes, servers and fixtures of the integration tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from fixtures import cluster, pytest_runtest_makereport, servers  # noqa: E402, F401
