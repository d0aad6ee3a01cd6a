"""The metering example in `message` mode: every acknowledged reading is stored once, even if a server is killed."""

import json
import pathlib
from typing import Any

import pytest

from cluster import BIN_DIR, Cluster, message_service
from ports import reserve_port
from processes import Process, run
from waiting import SANITIZER, eventually

_WORKERS = 2
_SECONDS = 3
_READINGS_PER_SECOND = 100 if SANITIZER else 600
# The largest message with its length field.
_MAX_FRAME_BYTES = 64 * 1024 + 4
# Acknowledgements come in the order of commits and have no id at a fixed place, so each connection has one reading in
# flight.
_SHARED_CONNECTIONS = 24


class Store(Process):
    """A meterstore that listens on `address`."""

    def __init__(self, folder: pathlib.Path, name: str, database: pathlib.Path, address: str) -> None:
        super().__init__(
            folder, name, [BIN_DIR / "meterstore", "--database", database, "--listen", address, "--cost", "0.2ms-1ms"]
        )
        self.address = address


class Tier:
    """Two servers with one database behind a proxy."""

    def __init__(self, cluster: Cluster, **options: Any) -> None:
        self._cluster = cluster
        self._database = cluster.path("readings.db")
        self._acked = cluster.path("acked")
        self._result = cluster.path("result.json")
        self.stores = [self._start_store(cluster, f"store{i}") for i in range(2)]
        cluster.add_controller(
            {
                "metering": message_service(
                    {"length_field": {"length": 4}},
                    *[store.address for store in self.stores],
                    max_message_bytes=_MAX_FRAME_BYTES,
                    max_in_flight=1,
                    shared_connections=_SHARED_CONNECTIONS,
                    **options,
                )
            }
        )
        self.proxy = cluster.add_proxy(workers=_WORKERS)
        cluster.start()

    def _start_store(self, cluster: Cluster, name: str) -> Store:
        address = f"127.0.0.1:{reserve_port()}"
        store = cluster.add(Store(cluster.folder, name, self._database, address))
        store.start()
        store.wait_for_line("listening")
        return store

    def start_collectors(self) -> Process:
        return self._cluster.add_process(
            "collectors",
            [
                BIN_DIR / "collectors",
                "--target",
                f"127.0.0.1:{self.proxy.port('metering')}",
                "--collectors",
                2000,
                "--seconds",
                _SECONDS,
                "--rate",
                _READINGS_PER_SECOND,
                "--no-burst",
                "--seed",
                7,
                "--acked",
                self._acked,
                "--json",
                self._result,
            ],
        ).start()

    def readings_sent(self) -> float:
        return self.proxy.metric("proxy_shared_requests_total")

    def assert_acknowledged_is_stored(self) -> Any:
        """Checks that every reading was acknowledged and every acknowledged reading is stored once."""
        heard = json.loads(self._result.read_text())
        print(heard)
        checked = self._cluster.path("check.json")
        run([BIN_DIR / "storecheck", "--acked", self._acked, "--db", self._database, "--json", checked])
        stored = json.loads(checked.read_text())
        print(stored)
        assert stored["ok"] and stored["acknowledged"] == heard["acknowledged"] == heard["sent"]
        assert heard["sent"] > _SECONDS * _READINGS_PER_SECOND / 2
        assert heard["wrong_answers"] == 0
        return heard


@pytest.mark.parametrize("idempotent", [False, True])
def test_acknowledged_readings_are_stored_when_a_server_is_killed(cluster: Cluster, idempotent: bool) -> None:
    tier = Tier(cluster, idempotent=idempotent)
    collectors = tier.start_collectors()
    eventually("readings travel", lambda: tier.readings_sent() > _READINGS_PER_SECOND)
    tier.stores[0].kill()
    before = tier.readings_sent()
    eventually("they go on", lambda: tier.readings_sent() > before + _READINGS_PER_SECOND // 2)
    tier.stores[0].start()
    assert collectors.wait(60) == 0, collectors.log_tail()
    heard = tier.assert_acknowledged_is_stored()
    if idempotent:
        assert heard["closed"] == 0
    # Each reading had a connection of its own to the proxy; few connections lead to the servers.
    assert tier.proxy.metric("proxy_clients_accepted_total") > _SECONDS * _READINGS_PER_SECOND / 2
    assert tier.proxy.metric("proxy_shared_connections") <= 2 * _WORKERS * _SHARED_CONNECTIONS
