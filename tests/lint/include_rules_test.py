"""Trees that break a rule, and trees that only look like it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).with_name("include_rules.py")


class IncludeRules(unittest.TestCase):
    def check(self, files):
        """The exit code and output for a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def assert_clean(self, files):
        self.assertEqual(self.check(files), (0, ""))

    def assert_violation(self, files, line):
        code, output = self.check(files)
        self.assertEqual(code, 1)
        self.assertIn(line, output)
        self.assertEqual(output.count("\n"), 1, output)

    def test_folders_of_the_product_do_not_include_each_other(self):
        for folder in ("agent", "controller", "dataplane"):
            for other in {"agent", "controller", "dataplane"} - {folder}:
                self.assert_violation({f"{folder}/x.cc": f'#include "{other}/y.h"\n'},
                                      f'{folder}/x.cc:1: {folder}/ may not include {other}/ ("{other}/y.h")')

    def test_common_includes_no_other_folder(self):
        for other in ("agent", "controller", "dataplane", "examples", "tests"):
            self.assert_violation({"common/x.h": f"// first\n#include <{other}/y.h>\n"},
                                  f"common/x.h:2: common/ may not include {other}/")

    def test_product_does_not_include_tests_or_examples(self):
        self.assert_violation({"agent/x.cc": '#include "tests/common/y.h"\n'}, "agent/ may not include tests/")
        self.assert_violation({"agent/x.cc": '#include "examples/y.h"\n'}, "agent/ may not include examples/")

    def test_example_includes_common_only(self):
        self.assert_violation({"examples/metering/x.cc": '#include "dataplane/y.h"\n'},
                              "examples/ may not include dataplane/")

    def test_deeper_folders_obey_too(self):
        self.assert_violation({"dataplane/deeper/x.cc": '# include  "agent/y.h"\n'}, "dataplane/deeper/x.cc:1:")

    def test_way_around_through_the_parent_is_seen(self):
        self.assert_violation({"agent/x.cc": '#include "../controller/y.h"\n'}, "is not a path from the root")

    def test_grpc_stays_in_edge_files(self):
        for header in ("<grpcpp/grpcpp.h>", "<grpc/grpc.h>", '"trunkline/v1/admin.grpc.pb.h"'):
            self.assert_violation({"controller/main.cc": f"#include {header}\n"}, "may include gRPC")
        self.assert_clean({"agent/load_reporter.cc": "#include <grpcpp/grpcpp.h>\n"})

    def test_other_libraries_stay_in_their_files(self):
        for header in ("<prometheus/gauge.h>", "<httplib.h>", "<yaml-cpp/yaml.h>", "<spdlog/spdlog.h>",
                       "<nghttp2/nghttp2.h>", "<sqlite3.h>"):
            self.assert_violation({"dataplane/flow.cc": f"#include {header}\n"}, "dataplane/flow.cc:1: only")

    def test_pure_stage_touches_no_library_and_no_system(self):
        for header in ('"trunkline/v1/weights.pb.h"', "<sys/socket.h>", "<unistd.h>", '"common/socket.h"',
                       '"controller/state_store.h"'):
            self.assert_violation({"controller/load_model.h": f"#include {header}\n"},
                                  "controller/load_model.h:1: a pure stage may not include")

    def test_pure_stage_reads_no_clock(self):
        for call in ("MonotonicNow()", "absl::Now()", "std::chrono::steady_clock::now()"):
            self.assert_violation({"dataplane/balancer.cc": f"auto t = {call};\n"}, "does not read a clock")
        self.assert_clean({"dataplane/balancer.cc": "// MonotonicNow() is for edges\n",
                           "dataplane/worker.cc": "auto t = MonotonicNow();\n"})

    def test_allowed_includes_are_silent(self):
        self.assert_clean({
            "agent/x.cc": '#include "agent/y.h"\n#include "common/z.h"\n#include "trunkline/v1/admin.pb.h"\n'
                          "#include <vector>\n// #include \"controller/y.h\"\n",
            "controller/ctl/x.cc": '#include "controller/y.h"\n',
            "controller/load_model.cc": '#include "controller/load_model.h"\n#include "common/clock.h"\n'
                                        '#include "absl/time/time.h"\n#include <map>\n',
            "tests/controller/x.cc": '#include "controller/y.h"\n#include <httplib.h>\n',
            "docs/x.h": '#include "controller/y.h"\n',
        })


if __name__ == "__main__":
    unittest.main()
