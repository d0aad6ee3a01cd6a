"""Checks the files of deploy/, which otherwise only containers read."""

import os
import pathlib
import subprocess

import pytest

BIN = pathlib.Path(os.environ["TRUNKLINE_BIN_DIR"])
DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
CONFIGS = sorted((DEPLOY / "config").glob("*.yaml"))


def output_of(*command: str | pathlib.Path) -> str:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_there_is_a_configuration_for_each_program_of_the_cluster() -> None:
    assert {path.stem.split("-")[0] for path in CONFIGS} == {"controller", "proxy", "agent"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_clusters_configuration_is_accepted(path: pathlib.Path) -> None:
    output_of(BIN / f"trunkline-{path.stem.split('-')[0]}", "--config", path, "--check-config")


def test_prometheus_accepts_its_configuration() -> None:
    output_of("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")
