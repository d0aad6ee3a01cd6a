"""Checks help, version and the reports on broken configurations of every program."""

import json
import re

import pytest

from cluster import BIN_DIR, Cluster
from processes import run

_PROCESSES = ["trunkline-controller", "trunkline-proxy", "trunkline-agent"]
_GOOD = {
    "trunkline-controller": {"services": [{"name": "echo", "listen": "127.0.0.1:9000", "mode": "tunnel"}]},
    "trunkline-proxy": {"proxy_id": "p", "controller": "127.0.0.1:7070"},
    "trunkline-agent": {
        "agent_id": "a",
        "controller": "127.0.0.1:7070",
        "services": [{"service": "echo", "target": "unix:/run/echo.sock"}],
    },
}
# For each program: (description, file, [(line, field, part of the expected message)]).
_BROKEN = [
    (
        "trunkline-controller",
        "an unknown field, a wrong type and a missing value",
        """\
grpc_listen: 127.0.0.1:7070
colour: blue
report_interval: soon
services:
  - name: echo
    listen: nine
  - listen: 127.0.0.1:9001
""",
        [
            (2, "colour", ""),
            (3, "report_interval", "expected"),
            (6, "services[0].listen", "host:port"),
            (7, "services[1].name", ""),
        ],
    ),
    (
        "trunkline-proxy",
        "a value out of bounds and a missing one",
        """\
proxy_id: p
workers: 1000
""",
        [(2, "workers", "256"), (1, "controller", "")],
    ),
    (
        "trunkline-agent",
        "a list where a text belongs",
        """\
agent_id: [a, b]
controller: 127.0.0.1:7070
services:
  - service: echo
    target: 127.0.0.1:port
""",
        [(1, "agent_id", "expected"), (5, "services[0].target", "unix:/path")],
    ),
    ("trunkline-proxy", "no YAML", "proxy_id: [p\n", [(None, "", "")]),
]


@pytest.mark.parametrize("name", _PROCESSES + ["trunkctl"])
def test_help_and_version(name: str) -> None:
    help_text = run([BIN_DIR / name, "--help"]).stdout
    assert name in help_text and "--version" in help_text
    assert re.fullmatch(name + r" \d+\.\d+\.\d+\n", run([BIN_DIR / name, "--version"]).stdout)


@pytest.mark.parametrize("name", _PROCESSES)
def test_good_configuration_is_checked(name: str, cluster: Cluster) -> None:
    path = cluster.path("good.yaml")
    path.write_text(json.dumps(_GOOD[name]))
    assert "ok" in run([BIN_DIR / name, "--config", path, "--check-config"]).stdout


@pytest.mark.parametrize(
    "name, text, errors",
    [(name, text, errors) for name, _, text, errors in _BROKEN],
    ids=[f"{name}-{what}".replace(" ", "_") for name, what, _, _ in _BROKEN],
)
@pytest.mark.parametrize("check", [["--check-config"], []], ids=["check", "start"])
def test_broken_configuration_names_file_line_and_field(
    name: str, text: str, errors: list[tuple[int | None, str, str]], check: list[str], cluster: Cluster
) -> None:
    path = cluster.path("broken.yaml")
    path.write_text(text)
    result = run([BIN_DIR / name, "--config", path, *check], check=False)
    assert result.returncode == 2, result
    lines = result.stderr.splitlines()
    for line, field, expected in errors:
        start = f"{path}:{line}: {field}" if line else f"{path}:"
        assert any(found.startswith(start) and expected in found for found in lines), (start, result.stderr)
    assert result.stdout == ""


@pytest.mark.parametrize("name", _PROCESSES)
def test_missing_file_and_wrong_flag_exit_with_2(name: str, cluster: Cluster) -> None:
    absent = cluster.path("absent.yaml")
    result = run([BIN_DIR / name, "--config", absent], check=False)
    assert result.returncode == 2 and str(absent) in result.stderr
    result = run([BIN_DIR / name, "--colour"], check=False)
    assert result.returncode == 2 and "--help" in result.stderr
    assert run([BIN_DIR / name], check=False).returncode == 2


def test_trunkctl_checks_files_of_every_kind(cluster: Cluster) -> None:
    # The check needs no controller.
    for name, config in _GOOD.items():
        kind = name.removeprefix("trunkline-")
        path = cluster.path(f"{kind}.yaml")
        path.write_text(json.dumps(config))
        assert "ok" in run([BIN_DIR / "trunkctl", "check", path, kind]).stdout
        path.write_text("colour: blue\n")
        assert run([BIN_DIR / "trunkctl", "check", path, kind], check=False).returncode == 2


def test_json_logs_are_json(cluster: Cluster) -> None:
    cluster.add_controller({}, log={"format": "json"}).start()
    lines = cluster.controller.log().splitlines()
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)
