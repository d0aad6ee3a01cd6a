"""Who may include what: folders of the product do not know each other, a library's headers stay in its edge files, and
the pure stages touch neither libraries nor the system.

    include_rules.py [ROOT]

prints each violation as FILE:LINE: WHAT, and exits with 1 if there is one.
"""

import pathlib
import re
import sys
from fnmatch import fnmatch

# Folder -> the folders it may include. What is not named here (tests) may include everything.
FOLDERS = {
    "common": ["common"],
    "agent": ["agent", "common"],
    "controller": ["controller", "common"],
    "dataplane": ["dataplane", "common"],
    "examples": ["examples", "common"],
}

# Header -> the files that may include it; all others stay free of that library.
LIBRARIES = [
    ("gRPC", r"grpc(pp)?/|trunkline/v1/.*\.grpc\.pb\.h$", [
        "agent/load_reporter.*",
        "controller/*_service.*",
        "controller/grpc_server.*",
        "controller/server_stream.h",
        "controller/ctl/client.*",
        "dataplane/discovery_subscriber.*",
    ]),
    ("prometheus-cpp", r"prometheus/", ["common/metrics_page.cc"]),
    ("cpp-httplib", r"httplib\.h$", ["common/admin_http.cc"]),
    ("yaml-cpp", r"yaml-cpp/", ["common/config.cc", "common/config_reader.*"]),
    ("spdlog", r"spdlog/", ["common/log.*", "common/log_formatter.*"]),
    ("nghttp2", r"nghttp2/", ["common/http2_*"]),
    ("OpenSSL", r"openssl/", ["common/trunk_socket.cc", "common/trunk_tls.cc"]),
    ("SQLite", r"sqlite3\.h$", ["examples/metering/*"]),
]

# The pure stages: values and `now` in, values out. They include each other, the standard library and abseil, so that the
# same code runs in production and in a simulation.
PURE = [
    "common/cgroup_files.*", "agent/meminfo.*", "agent/net_dev.*", "agent/net_route.*", "agent/netstat.*",
    "agent/load_pacer.h", "agent/proc_stat.*", "agent/psi.*",
    "common/backlog_age.h", "common/backoff.*", "common/clock.h", "common/flow_activity.h", "common/json_text.*", "common/load_word.*", "common/proxy_version.h", "common/random.h",
    "common/timer_wheel.*", "common/utf8.*",
    "controller/control_core.*", "controller/endpoint_registry.*", "controller/load_model.*",
    "controller/load_report.h", "controller/proxy_table.*", "controller/service_spec.h",
    "controller/snapshot_publisher.*", "controller/stored_state.h", "controller/subscription.*",
    "controller/weight_limiter.*", "controller/weight_policy.*",
    "dataplane/balancer.*", "dataplane/codec/*", "dataplane/load_estimate.*", "dataplane/memory_rule.*",
]
CLOCK_READ = re.compile(r"\bMonotonicNow\(\)|\babsl::Now\(|_clock::now\(|\bclock_gettime\(|\bgettimeofday\(")
CLOCK_DECLARATION = "common/clock.h"

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
SOURCES = (".cc", ".h")


def folder_violation(file, header):
    folder = file.parts[0]
    if ".." in header.split("/"):
        return f'"{header}" is not a path from the root of the tree'
    target = header.split("/")[0]
    if target not in FOLDERS and target != "tests":
        return None
    if target in FOLDERS.get(folder, [target]):
        return None
    return f'{folder}/ may not include {target}/ ("{header}")'


def library_violation(file, header):
    if file.parts[0] not in FOLDERS:
        return None
    for library, pattern, edges in LIBRARIES:
        if re.match(pattern, header) and not any(fnmatch(str(file), edge) for edge in edges):
            return f'only {", ".join(edges)} may include {library} ("{header}")'
    return None


def is_pure(path):
    return any(fnmatch(path, pattern) for pattern in PURE)


def purity_violation(file, header):
    if not is_pure(str(file)):
        return None
    standard = re.fullmatch(r"[a-z_0-9]+", header)
    if standard or header.startswith("absl/") or is_pure(header):
        return None
    return f'a pure stage may not include "{header}"'


def clock_violation(file, line):
    code = line.split("//")[0]
    if is_pure(str(file)) and str(file) != CLOCK_DECLARATION and CLOCK_READ.search(code):
        return "a pure stage takes `now`, it does not read a clock"
    return None


def source_files(root):
    for folder in [*FOLDERS, "tests"]:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES:
                yield path


def violations(root):
    """Yields (file, line number, what is wrong)."""
    for path in source_files(root):
        file = path.relative_to(root)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            found = [clock_violation(file, line)]
            match = INCLUDE.match(line)
            if match:
                header = match.group(2)
                found += [rule(file, header) for rule in (folder_violation, library_violation, purity_violation)]
            for what in filter(None, found):
                yield file, number, what


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]
    count = 0
    for file, number, what in violations(root):
        print(f"{file}:{number}: {what}")
        count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
