"""A real PostgreSQL through `tunnel`, and its health check."""

import hashlib
import os
import pathlib
import pwd
import re
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from cluster import Cluster
from ports import reserve_port
from processes import run, tool
from waiting import SANITIZER, eventually

_BIN_FOLDERS = sorted(str(path) for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
_ROWS = 200_000


@pytest.fixture
def postgres(cluster: Cluster) -> list[object]:
    """Returns the options of psql and pgbench that lead through a proxy to the test's own server."""
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    data = cluster.path("pg")
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    options: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    run(
        [tool("initdb", *_BIN_FOLDERS), "-D", data / "data", "-A", "trust", "-U", "meter", "--no-sync"],
        seconds=60,
        cwd="/",
        **options,
    )
    port = reserve_port()
    cluster.add_process(
        "postgres",
        [
            tool("postgres", *_BIN_FOLDERS),
            "-D",
            data / "data",
            "-k",
            data,
            "-c",
            "listen_addresses=127.0.0.1",
            "-p",
            port,
            "-c",
            "fsync=off",
            "-c",
            "max_connections=60",
        ],
        user=user if options else None,
    ).start()
    socket_path = data / f".s.PGSQL.{port}"
    local = ["-h", data, "-p", port]
    eventually("PostgreSQL answers", lambda: psql(local, "SELECT 1", check=False).returncode == 0, 60)
    # SSLRequest, to which a server without TLS answers N.
    check = {"tcp": {"send_hex": "00000008 04d2162f", "expect": "N"}, "interval": "2s", "timeout": "2s"}
    endpoint = {"endpoint_id": "checked", "address": f"127.0.0.1:{port}"}
    cluster.add_controller({"sql": {}, "direct": {"mode": "direct", "endpoints": [endpoint], "health_check": check}})
    cluster.add_agent("a", {"sql": f"unix:{socket_path}"})
    proxy = cluster.add_proxy()
    cluster.start()
    return ["-h", "127.0.0.1", "-p", proxy.port("sql")]


def psql(where: Sequence[object], sql: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(
        [
            tool("psql", *_BIN_FOLDERS),
            *where,
            "-U",
            "meter",
            "-d",
            "postgres",
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ],
        **options,
    )


def test_pgbench_fails_no_transaction(postgres: list[object]) -> None:
    bench = [tool("pgbench", *_BIN_FOLDERS), *postgres, "-U", "meter"]
    run([*bench, "-i", "-q", "-s", 1, "postgres"])
    transactions = 50 if SANITIZER else 250
    report = run([*bench, "-c", 8, "-t", transactions, "postgres"]).stdout
    # -C connects for each transaction; -n keeps pgbench from emptying the history first.
    report += run([*bench, "-c", 4, "-t", transactions // 5, "-C", "-S", "-n", "postgres"]).stdout
    print(report)
    failed = re.findall(r"number of failed transactions: (\d+)", report)
    done = re.findall(r"transactions actually processed: (\d+)/(\d+)", report)
    assert failed == ["0", "0"] and len(done) == 2
    assert all(processed == wanted for processed, wanted in done)
    assert psql(postgres, "SELECT count(*) FROM pgbench_history").stdout.strip() == str(8 * transactions)


def test_copy_both_ways(postgres: list[object]) -> None:
    psql(postgres, "CREATE TABLE readings (meter bigint, watt_hours bigint)")
    rows = "".join(f"{i}\t{(i * 2654435761) % 2**40}\n" for i in range(_ROWS))
    print(f"{len(rows) / 1e6:.1f} MB each way")
    psql(postgres, "COPY readings FROM STDIN", input=rows)
    assert psql(postgres, "SELECT count(*) FROM readings").stdout.strip() == str(_ROWS)
    back = psql(postgres, "COPY (SELECT * FROM readings ORDER BY meter) TO STDOUT").stdout
    assert hashlib.blake2b(back.encode()).digest() == hashlib.blake2b(rows.encode()).digest()


def test_error_of_the_server_reaches_the_client(postgres: list[object]) -> None:
    answer = psql(postgres, "SELECT 1 / 0", check=False)
    assert answer.returncode != 0 and "division by zero" in answer.stderr


def test_health_check_by_a_request_for_tls_passes(cluster: Cluster, postgres: list[object]) -> None:
    assert postgres
    proxy = next(program for program in cluster.programs if program.name == "p")
    eventually("it passes", lambda: proxy.metric("proxy_endpoint_check_passes_total", endpoint="checked") > 0)
    assert proxy.metric("proxy_endpoint_check_failures_total", endpoint="checked") == 0
