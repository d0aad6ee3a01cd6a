"""Runs h2spec against an agent's trunk port.

h2spec sends GET and POST. An agent accepts CONNECT for its services only and answers anything else with 405 at once, so
cases that need a body or an open stream cannot pass. test_frames_to_agent.py covers those on CONNECT streams. All other
cases must pass.
"""

import concurrent.futures
import pathlib
import xml.etree.ElementTree
from collections.abc import Iterator
from typing import Any

import peers
from cluster import Cluster
from processes import run
from servers import EchoServer, ServerStarter

# The sections run in parallel, because most cases spend their time waiting for a timeout.
_SECTIONS = ["generic", "hpack", "http2/3", "http2/4", "http2/5", "http2/6", "http2/7", "http2/8"]
_CASES = 146
_TIMEOUT_SECONDS = 2

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_NO_BODY = "405 has no body: no DATA to see a window by"
_CLOSED = (
    "RFC 9113, 5.1: what comes on a closed stream MAY be an error; it may have been in flight, so it is ignored, and no"
    " memory is spent on closed streams"
)
_LOWER = "nghttp2 cannot tell it from a stream that was closed, on which HEADERS are ignored"
_ANSWERED = "1,000 streams are never open at once: each is answered at once"
_LONG = "its header list is longer than the 8 KiB that our SETTINGS allow: reset with ENHANCE_YOUR_CALM"
_RACE = "the answer 405 closes the stream; what the case does to it comes before that, and is an error, or after, and is not"

# By section and title; every other case must pass. Two results mean that the case is a race.
EXPECTED = {
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"): ({FAILED}, _NO_BODY),
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"): ({FAILED}, _NO_BODY),
    ("http2/5.1", "half closed (remote): Sends a DATA frame"): ({PASSED, FAILED}, _RACE),
    ("http2/5.1", "half closed (remote): Sends a HEADERS frame"): ({PASSED, FAILED}, _RACE),
    ("http2/5.1", "closed: Sends a DATA frame after sending RST_STREAM frame"): ({FAILED}, _CLOSED),
    ("http2/5.1", "closed: Sends a HEADERS frame after sending RST_STREAM frame"): ({FAILED}, _CLOSED),
    ("http2/5.1", "closed: Sends a DATA frame"): ({FAILED}, _CLOSED),
    ("http2/5.1", "closed: Sends a HEADERS frame"): ({FAILED}, _CLOSED),
    ("http2/5.1.1", "Sends stream identifier that is numerically smaller than previous"): ({FAILED}, _LOWER),
    ("http2/5.1.2", "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded"): (
        {FAILED},
        _ANSWERED,
    ),
    ("http2/6.1", 'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state'): (
        {PASSED, FAILED},
        _RACE,
    ),
    ("http2/6.1", "Sends a DATA frame with invalid pad length"): ({PASSED, FAILED}, _RACE),
    ("http2/6.5.3", "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE"): ({SKIPPED}, _NO_BODY),
    ("http2/6.9", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream"): (
        {PASSED, FAILED},
        _RACE,
    ),
    ("http2/6.9.1", "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame"): (
        {SKIPPED},
        _NO_BODY,
    ),
    (
        "http2/6.9.1",
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
    ): ({PASSED, FAILED}, _RACE),
    ("http2/6.9.2", "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame"): ({SKIPPED}, _NO_BODY),
    ("http2/6.9.2", "Sends a SETTINGS frame for window size to be negative"): ({SKIPPED}, _NO_BODY),
    ("http2/6.10", "Sends multiple CONTINUATION frames preceded by a HEADERS frame"): ({FAILED}, _LONG),
    ("http2/8.1", "Sends a second HEADERS frame without the END_STREAM flag"): ({PASSED, FAILED}, _RACE),
    ("http2/8.1.2.1", "Sends a HEADERS frame that contains a pseudo-header field as trailers"): (
        {PASSED, FAILED},
        _RACE,
    ),
    (
        "http2/8.1.2.6",
        'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame'
        " payload length",
    ): ({PASSED, FAILED}, _RACE),
    (
        "http2/8.1.2.6",
        'Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the'
        " multiple DATA frames payload length",
    ): ({PASSED, FAILED}, _RACE),
}


def results_of(report: pathlib.Path) -> Iterator[tuple[tuple[str | None, str | None], str]]:
    """Yields ((section, title), result) of each case in a JUnit report."""
    # h2spec does not escape titles for XML.
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        result = SKIPPED if "skipped" in kinds else FAILED if kinds & {"error", "failure"} else PASSED
        yield (case.get("package"), case.get("classname")), result


def test_h2spec_passes_except_for_explained_cases(cluster: Cluster, servers: ServerStarter) -> None:
    program = peers.h2spec()
    print(f"h2spec {peers.h2spec_version()}")
    cluster.add_controller({"echo": {}})
    agent = cluster.add_agent("a", {"echo": servers(EchoServer).address}).start()

    def judge(section: str) -> Any:
        report = cluster.path(section.replace("/", "-") + ".xml")
        run(
            [program, "-p", agent.trunk_port, "-S", "-o", _TIMEOUT_SECONDS, "-j", report, section],
            check=False,
            seconds=120,
        )
        return dict(results_of(report))

    results = {}
    with concurrent.futures.ThreadPoolExecutor(len(_SECTIONS)) as pool:
        for found in pool.map(judge, _SECTIONS):
            results.update(found)
    surprises = [
        f"{section}: {title}: {result}"
        for (section, title), result in sorted(results.items())
        if result not in EXPECTED.get((section, title), ({PASSED}, ""))[0]
    ]
    assert surprises == []
    assert len(results) == _CASES
    assert EXPECTED.keys() <= results.keys()
    print(f"{list(results.values()).count(PASSED)} of {_CASES} cases passed")
