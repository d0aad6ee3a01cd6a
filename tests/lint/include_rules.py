"""Who may include what. Folders of the product do not know each other, and a library's headers stay in its edge files.

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
        "controller/ctl/controller_client.*",
        "dataplane/discovery_subscriber.*",
    ]),
    ("prometheus-cpp", r"prometheus/", ["common/metrics_page.cc"]),
    ("cpp-httplib", r"httplib\.h$", ["common/admin_http.cc"]),
    ("yaml-cpp", r"yaml-cpp/", ["common/config.cc", "common/config_reader.*"]),
    ("spdlog", r"spdlog/", ["common/log.*", "common/log_formatter.*"]),
    ("nghttp2", r"nghttp2/", ["common/http2_*"]),
    ("SQLite", r"sqlite3\.h$", ["examples/metering/*"]),
]

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
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(2)
            for what in (folder_violation(file, header), library_violation(file, header)):
                if what:
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
