"""Checks which file may include which.

Folders follow the arrows of arrows.txt, a library's headers stay in its edge files, and the pure stages touch neither
libraries nor the system. Links in CMake follow the same arrows. No wait follows the wall clock. Invariants are checked
in release builds, too.

    include_rules.py [ROOT]

prints each violation as FILE:LINE: DESCRIPTION, and exits with 1 if there is one.
"""

import pathlib
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch

# The folders that a folder may include directly, by folder.
Arrows = dict[str, list[str]]
# File, line number, description.
Violation = tuple[pathlib.Path | str, int, str]

ARROWS = pathlib.Path(__file__).with_name("arrows.txt")

# (library, pattern of its headers, the only files that may include them).
LIBRARIES = [
    (
        "gRPC",
        r"grpc(pp)?/|trunkline/v1/.*\.grpc\.pb\.h$",
        [
            "common/grpc/*",
            "agent/report/load_reporter.*",
            "controller/serve/*_service.*",
            "controller/serve/grpc_server.*",
            "controller/serve/response_cache.*",
            "controller/serve/server_stream.h",
            "trunkctl/client.*",
            "dataplane/control/discovery_subscriber.*",
        ],
    ),
    ("prometheus-cpp", r"prometheus/", ["common/observe/metrics_page.cc"]),
    (
        "yaml-cpp",
        r"yaml-cpp/",
        ["common/config/config.cc", "common/config/config_reader.*", "common/config/yaml_text.*"],
    ),
    ("spdlog", r"spdlog/", ["common/observe/log.*", "common/observe/log_formatter.*"]),
    ("nghttp2", r"nghttp2/", ["common/http2/http2_*"]),
    ("OpenSSL", r"openssl/", ["common/trunk/trunk_socket.cc", "common/trunk/trunk_tls.cc"]),
    ("SQLite", r"sqlite3\.h$", ["examples/metering/*"]),
]

# (library, pattern of its targets, the only targets of ours that may link it). With the arrows, this says which folders
# link it through others. trunkline_grpc is the generated code of the services.
LINKS = [
    ("nghttp2", r"PkgConfig::nghttp2", ["trunkline_common_http2"]),
    ("OpenSSL", r"OpenSSL::\w+", ["trunkline_common_trunk"]),
    (
        "gRPC",
        r"gRPC::\S+|trunkline_grpc",
        [
            "trunkline_grpc",
            "trunkline_common_grpc",
            "trunkline_agent_report",
            "trunkline_controller_serve",
            "trunkline_dataplane_control",
            "trunkline_trunkctl",
        ],
    ),
    ("yaml-cpp", r"yaml-cpp\S*", ["trunkline_common_config"]),
    ("prometheus-cpp", r"prometheus-cpp::\w+", ["trunkline_common_observe"]),
    ("spdlog", r"spdlog::\w+", ["trunkline_common_observe"]),
    ("c-ares", r"PkgConfig::cares", ["trunkline_common_resolver"]),
    ("SQLite", r"SQLite::\w+", ["metering_store"]),
]

# Pure stages map values and `now` to values. They include only each other, the standard library and abseil, so that the
# same code runs in production and in a simulation.
PURE = [
    "common/base/absl_view.h",
    "common/base/backoff.*",
    "common/base/clock.h",
    "common/base/balancing_policy.h",
    "common/base/forwarding_mode.h",
    "common/base/json_text.*",
    "common/base/limits.h",
    "common/base/number_units.h",
    "common/base/random.h",
    "common/base/utf8.*",
    "common/base/window_budget.h",
    "common/net/backlog_age.h",
    "common/net/flow_activity.h",
    "common/net/timer_wheel.*",
    "common/proxy_protocol/proxy_version.h",
    "common/inband/*",
    "common/cgroup/cgroup_files.*",
    "agent/proc/meminfo.*",
    "agent/proc/net_dev.*",
    "agent/proc/net_route.*",
    "agent/proc/netstat.*",
    "agent/proc/proc_stat.*",
    "agent/proc/psi.*",
    "agent/trunk/load_pacer.h",
    "controller/core/*",
    "dataplane/check/check_exchange.*",
    "dataplane/codec/*",
    "dataplane/table/alias_table.*",
    "dataplane/table/health_check.h",
    "dataplane/table/maglev_table.*",
    "dataplane/flow/pending_queue.h",
    "dataplane/memory/memory_rule.*",
    "dataplane/route/balancer.*",
    "dataplane/route/endpoint_picker.*",
    "dataplane/route/answer_times.*",
    "dataplane/route/least_loaded.*",
    "dataplane/route/rotation.*",
    "dataplane/route/load_estimate.*",
    "dataplane/route/outlier_ejection.*",
    "dataplane/route/retry_budget.h",
]
CLOCK_READ = re.compile(r"\bMonotonicNow\(\)|\babsl::Now\(|_clock::now\(|\bclock_gettime\(|\bgettimeofday\(")
CLOCK_DECLARATION = "common/base/clock.h"

# Timed waits and deadlines by the wall clock last longer by the length of a step back. absl's timed waits are among them
# with the libraries of Debian 12. common/base/timed_condition.h and common/grpc/deadline.h replace them.
WALL_CLOCK_WAIT = re.compile(
    r"\b(Await|Wait|WaitForNotification|LockWhen|ReaderLockWhen)With(Timeout|Deadline)\("
    r"|\b(wait_until|sleep_until|try_lock_for|try_lock_until|try_lock_shared_for|try_lock_shared_until)\("
    r"|\b(pthread_\w+|sem|mtx|cnd)_timed\w*\(|\bsystem_clock::now\(|\babsl::ToChronoTime\("
)

# Release builds leave assertions out and would go on with broken state.
ASSERTION = re.compile(r"#\s*include\s*<(cassert|assert\.h)>|\bassert\(")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
SOURCES = (".cc", ".h")


def read_arrows(text: str) -> Arrows:
    """Returns {folder: the folders that it may include directly}, in the order of the text."""
    arrows = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            arrows[words[0]] = [word for word in words[1:] if word != "-"]
    return arrows


def find_cycle(arrows: Arrows) -> list[str] | None:
    """Returns the folders of one cycle, the first one twice, or None if there is none."""
    done = set()

    def visit(folder: str, path: list[str]) -> list[str] | None:
        if folder in path:
            return [*path[path.index(folder) :], folder]
        if folder in done:
            return None
        for target in arrows.get(folder, []):
            cycle = visit(target, [*path, folder])
            if cycle:
                return cycle
        done.add(folder)
        return None

    for folder in arrows:
        cycle = visit(folder, [])
        if cycle:
            return cycle
    return None


def reach(arrows: Arrows) -> dict[str, set[str]]:
    """Returns {folder: itself and all folders that its arrows lead to}."""
    reached: dict[str, set[str]] = {}

    def visit(folder: str) -> set[str]:
        if folder not in reached:
            reached[folder] = {folder}.union(*[visit(target) for target in arrows.get(folder, [])])
        return reached[folder]

    for folder in arrows:
        visit(folder)
    return reached


class Folders:
    """Answers questions about paths from the arrows."""

    def __init__(self, arrows: Arrows) -> None:
        self.arrows = arrows
        self.reached = reach(arrows)
        self.programs = {folder.split("/")[0] for folder in arrows}

    def is_ours(self, path: str) -> bool:
        return path.split("/")[0] in self.programs | {"tests"}

    def folder_of(self, path: str) -> str:
        return str(pathlib.PurePosixPath(path).parent)

    def violation(self, file: pathlib.Path, header: str) -> str | None:
        if ".." in header.split("/"):
            return f'"{header}" is not a path from the root of the tree'
        if not self.is_ours(header) or file.parts[0] == "tests":
            return None
        source, target = self.folder_of(str(file)), self.folder_of(header)
        if source not in self.arrows:
            return f"{source}/ is not in {ARROWS.name}"
        if target in self.reached[source]:
            return None
        return f'{source}/ may not include {target}/ ("{header}")'


def library_violation(file: pathlib.Path, header: str) -> str | None:
    if file.parts[0] == "tests":
        return None
    for library, pattern, edges in LIBRARIES:
        if re.match(pattern, header) and not any(fnmatch(str(file), edge) for edge in edges):
            return f'only {", ".join(edges)} may include {library} ("{header}")'
    return None


def is_pure(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in PURE)


def purity_violation(file: pathlib.Path, header: str) -> str | None:
    if not is_pure(str(file)):
        return None
    standard = re.fullmatch(r"[a-z_0-9]+", header)
    if standard or header.startswith("absl/") or is_pure(header):
        return None
    return f'a pure stage may not include "{header}"'


def clock_violation(file: pathlib.Path, line: str) -> str | None:
    code = line.split("//")[0]
    if is_pure(str(file)) and str(file) != CLOCK_DECLARATION and CLOCK_READ.search(code):
        return "a pure stage takes `now`, it does not read a clock"
    return None


def wait_violation(file: pathlib.Path, line: str) -> str | None:
    if file.parts[0] == "tests":
        return None
    match = WALL_CLOCK_WAIT.search(line.split("//")[0])
    if match is None:
        return None
    return (
        f"{match.group().rstrip('(')} follows the wall clock, whose steps would stretch the wait: use TimedCondition, "
        "std::condition_variable::wait_for or GrpcDeadline"
    )


def assertion_violation(file: pathlib.Path, line: str) -> str | None:
    if file.parts[0] == "tests" or not ASSERTION.search(line.split("//")[0]):
        return None
    return "release builds have no assertions: use TRUNKLINE_CHECK for an invariant, a Status for an error"


def source_files(root: pathlib.Path, folders: Folders) -> Iterator[pathlib.Path]:
    for folder in [*sorted(folders.programs), "tests"]:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES:
                yield path


def include_violations(root: pathlib.Path, folders: Folders) -> Iterator[Violation]:
    """Yields (file, line number, description) of each violation by an include."""
    for path in source_files(root, folders):
        file = path.relative_to(root)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            found = [rule(file, line) for rule in (clock_violation, wait_violation, assertion_violation)]
            match = INCLUDE.match(line)
            if match:
                header = match.group(2)
                found += [rule(file, header) for rule in (folders.violation, library_violation, purity_violation)]
            for what in filter(None, found):
                yield file, number, what


def library_folder(target: str, folders: Folders) -> str | None:
    """Returns dataplane/route for trunkline_dataplane_route, and None for other targets."""
    names = {"trunkline_" + folder.replace("/", "_"): folder for folder in folders.arrows}
    return names.get(target)


def external_violation(target: str, linked: str) -> str | None:
    for library, pattern, targets in LINKS:
        if re.fullmatch(pattern, linked) and target not in targets:
            return f"only {', '.join(targets)} may link {library} ({linked}), not {target}"
    return None


def link_violations(root: pathlib.Path, folders: Folders) -> Iterator[Violation]:
    """Yields (file, line number, description) of each link that the arrows or LINKS do not allow."""
    call = re.compile(r"\b(trunkline_library|trunkline_program|target_link_libraries)\(([\w-]+)([^)]*)\)")
    for path in sorted(path for top in [*folders.programs, "proto"] for path in (root / top).rglob("CMakeLists.txt")):
        file = path.relative_to(root)
        text = path.read_text()
        for match in call.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            function, name, words = match.groups()
            target = f"trunkline_{name}" if function == "trunkline_library" else name
            # Programs and the examples' targets belong to the folder of their file.
            source = library_folder(target, folders) if function == "trunkline_library" else str(file.parent)
            if source is None:
                yield file, line, f"{target} is no folder of {ARROWS.name}"
                continue
            for linked in words.split():
                folder = library_folder(linked, folders)
                if folder and folder not in folders.reached.get(source, {source}):
                    yield file, line, f"{source}/ may not link {linked}"
                what = external_violation(target, linked)
                if what:
                    yield file, line, what


def violations(root: pathlib.Path) -> Iterator[Violation]:
    arrows = read_arrows(ARROWS.read_text())
    cycle = find_cycle(arrows)
    if cycle:
        yield ARROWS.name, 1, "a cycle: " + " -> ".join(cycle)
        return
    folders = Folders(arrows)
    yield from include_violations(root, folders)
    yield from link_violations(root, folders)


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]
    count = 0
    for file, number, what in violations(root):
        print(f"{file}:{number}: {what}")
        count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
