"""Tests the include rules on trees that break one, and on trees that only look like it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import include_rules

CHECK = pathlib.Path(__file__).with_name("include_rules.py")


class IncludeRules(unittest.TestCase):
    def check(self, files: dict[str, str]) -> tuple[int, str]:
        """Returns the exit code and output for a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def assert_clean(self, files: dict[str, str]) -> None:
        self.assertEqual(self.check(files), (0, ""))

    def assert_violation(self, files: dict[str, str], line: str) -> None:
        code, output = self.check(files)
        self.assertEqual(code, 1)
        self.assertIn(line, output)
        self.assertEqual(output.count("\n"), 1, output)

    def test_programs_do_not_include_each_other(self) -> None:
        for folder in ("agent/proc", "controller/wire", "dataplane/route"):
            for other in {"agent/proc", "controller/wire", "dataplane/route"} - {folder}:
                self.assert_violation(
                    {f"{folder}/x.cc": f'#include "{other}/y.h"\n'},
                    f'{folder}/x.cc:1: {folder}/ may not include {other}/ ("{other}/y.h")',
                )

    def test_common_includes_no_other_program(self) -> None:
        for other in ("agent/proc", "controller/wire", "dataplane/route", "examples/metering", "tests/common"):
            self.assert_violation(
                {"common/net/x.h": f"// first\n#include <{other}/y.h>\n"},
                f"common/net/x.h:2: common/net/ may not include {other}/",
            )

    def test_a_folder_may_not_include_a_later_one(self) -> None:
        for lower, upper in (
            ("common/base", "common/net"),
            ("common/http2", "common/trunk"),
            ("agent/sample", "agent/report"),
            ("controller/wire", "controller/loop"),
            ("dataplane/flow", "dataplane/route"),
            ("dataplane/route", "dataplane/tunnel"),
            ("dataplane/message", "dataplane"),
        ):
            self.assert_violation({f"{lower}/x.cc": f'#include "{upper}/y.h"\n'}, f"{lower}/ may not include {upper}/")
            self.assert_clean({f"{upper}/x.cc": f'#include "{lower}/y.h"\n'})

    def test_folder_that_has_no_arrows_is_named(self) -> None:
        self.assert_violation(
            {"dataplane/attic/x.cc": '#include "common/base/y.h"\n'}, "dataplane/attic/ is not in arrows.txt"
        )

    def test_product_does_not_include_tests_or_examples(self) -> None:
        self.assert_violation({"agent/proc/x.cc": '#include "tests/common/y.h"\n'}, "may not include tests/common/")
        self.assert_violation({"agent/proc/x.cc": '#include "examples/y.h"\n'}, "may not include examples/")

    def test_example_includes_common_only(self) -> None:
        self.assert_violation(
            {"examples/metering/x.cc": '#include "dataplane/flow/y.h"\n'},
            "examples/metering/ may not include dataplane/flow/",
        )

    def test_include_through_the_parent_folder_is_found(self) -> None:
        self.assert_violation({"agent/proc/x.cc": '#include "../controller/y.h"\n'}, "is not a path from the root")

    def test_cycle_of_arrows_is_found(self) -> None:
        arrows = include_rules.read_arrows("a b # why\nb c\nc a\n# d\n")
        self.assertEqual(include_rules.find_cycle(arrows), ["a", "b", "c", "a"])
        self.assertIsNone(include_rules.find_cycle(include_rules.read_arrows("a b c\nb c\nc -\n")))

    def test_cmake_links_what_the_arrows_allow(self) -> None:
        self.assert_violation(
            {"agent/CMakeLists.txt": "# x\ntrunkline_library(agent_proc\n  a.cc\n  DEPS trunkline_common_http2)\n"},
            "agent/CMakeLists.txt:2: agent/proc/ may not link trunkline_common_http2",
        )
        self.assert_violation(
            {"agent/CMakeLists.txt": "trunkline_library(agent_attic a.cc)\n"}, "trunkline_agent_attic"
        )
        self.assert_clean({"agent/CMakeLists.txt": "trunkline_library(agent_proc a.cc DEPS trunkline_common_base z)\n"})

    def test_programs_and_examples_link_what_the_arrows_allow(self) -> None:
        self.assert_violation(
            {"agent/CMakeLists.txt": "trunkline_program(trunkline-agent main.cc DEPS trunkline_controller)\n"},
            "agent/CMakeLists.txt:1: agent/ may not link trunkline_controller",
        )
        self.assert_violation(
            {
                "examples/metering/CMakeLists.txt": "target_link_libraries(metering_wire PUBLIC trunkline_common_trunk)\n"
            },
            "examples/metering/CMakeLists.txt:1: examples/metering/ may not link trunkline_common_trunk",
        )
        self.assert_clean(
            {
                "agent/CMakeLists.txt": "trunkline_program(trunkline-agent main.cc DEPS trunkline_agent)\n",
                "examples/metering/CMakeLists.txt": "target_link_libraries(storecheck PRIVATE trunkline_common_net z)\n",
            }
        )

    def test_external_libraries_are_linked_by_their_targets_only(self) -> None:
        for library in ("PkgConfig::nghttp2", "OpenSSL::SSL", "gRPC::grpc++", "trunkline_grpc", "yaml-cpp"):
            self.assert_violation(
                {"agent/CMakeLists.txt": f"trunkline_library(agent_proc a.cc PRIVATE {library})\n"},
                f"({library}), not trunkline_agent_proc",
            )
            self.assert_violation(
                {"trunkctl/CMakeLists.txt": f"trunkline_program(trunkctl main.cc DEPS {library})\n"},
                f"({library}), not trunkctl",
            )
        self.assert_clean(
            {
                "common/CMakeLists.txt": "trunkline_library(common_http2 a.cc DEPS trunkline_common_net PkgConfig::nghttp2)\n"
            }
        )

    def test_folders_without_trunks_link_neither_nghttp2_nor_openssl(self) -> None:
        reached = include_rules.reach(include_rules.read_arrows(include_rules.ARROWS.read_text()))
        for folder in (
            "agent/proc",
            "agent/sample",
            "controller/core",
            "dataplane/check",
            "dataplane/flow",
            "dataplane/memory",
            "dataplane/route",
            "dataplane/table",
        ):
            self.assertFalse(reached[folder] & {"common/http2", "common/trunk"}, folder)

    def test_grpc_stays_in_edge_files(self) -> None:
        for header in ("<grpcpp/grpcpp.h>", "<grpc/grpc.h>", '"trunkline/v1/admin.grpc.pb.h"'):
            self.assert_violation({"controller/loop/x.cc": f"#include {header}\n"}, "may include gRPC")
        self.assert_clean({"agent/report/load_reporter.cc": "#include <grpcpp/grpcpp.h>\n"})

    def test_other_libraries_stay_in_their_files(self) -> None:
        for header in (
            "<prometheus/gauge.h>",
            "<yaml-cpp/yaml.h>",
            "<spdlog/spdlog.h>",
            "<nghttp2/nghttp2.h>",
            "<sqlite3.h>",
        ):
            self.assert_violation({"dataplane/flow/flow.cc": f"#include {header}\n"}, "dataplane/flow/flow.cc:1: only")

    def test_pure_stage_touches_no_library_and_no_system(self) -> None:
        for header in (
            '"trunkline/v1/weights.pb.h"',
            "<sys/socket.h>",
            "<unistd.h>",
            '"common/base/atomic_file.h"',
            '"common/base/system_files.h"',
        ):
            self.assert_violation(
                {"controller/core/load_model.h": f"#include {header}\n"},
                "controller/core/load_model.h:1: a pure stage may not include",
            )

    def test_pure_stage_reads_no_clock(self) -> None:
        for call in ("MonotonicNow()", "absl::Now()", "std::chrono::steady_clock::now()"):
            self.assert_violation({"dataplane/route/balancer.cc": f"auto t = {call};\n"}, "does not read a clock")
        self.assert_clean(
            {
                "dataplane/route/balancer.cc": "// MonotonicNow() is for edges\n",
                "dataplane/worker.cc": "auto t = MonotonicNow();\n",
            }
        )

    def test_no_wait_follows_the_wall_clock(self) -> None:
        for call in (
            "mutex_.AwaitWithTimeout(absl::Condition(&done), timeout)",
            "changed_.WaitWithDeadline(&mutex_, absl::Now() + timeout)",
            "done.WaitForNotificationWithTimeout(timeout)",
            "changed_.wait_until(lock, deadline)",
            "std::this_thread::sleep_until(deadline)",
            "mutex.try_lock_for(timeout)",
            "pthread_cond_timedwait(&cond, &mutex, &when)",
            "context.set_deadline(std::chrono::system_clock::now() + timeout)",
            "server->Shutdown(absl::ToChronoTime(when))",
        ):
            self.assert_violation({"agent/report/x.cc": f"int x;\n  {call};\n"}, "follows the wall clock")
        self.assert_clean(
            {
                "agent/report/x.cc": "stopped_.AwaitFor(mutex_, timeout, absl::Condition(&stopping_));\n"
                "// AwaitWithTimeout(x) is not used\n",
                "agent/report/y.cc": "changed.wait_for(lock, timeout, done);\nmutex_.Await(absl::Condition(&done));\n",
                "tests/agent/x.cc": "mutex_.AwaitWithTimeout(absl::Condition(&done), kPatience);\n",
            }
        )

    def test_invariants_hold_in_release_builds(self) -> None:
        for line in ("#include <cassert>", "# include <assert.h>", "  assert(x == 1);", "  if (y) assert(x);"):
            self.assert_violation(
                {"dataplane/flow/x.cc": f"int x;\n{line}\n"}, "x.cc:2: release builds have no assertions"
            )
        self.assert_clean(
            {
                "dataplane/flow/x.cc": "static_assert(kX == 1);\n// assert(x) is not used\n",
                "tests/dataplane/x.cc": "#include <cassert>\n",
            }
        )

    def test_allowed_includes_are_silent(self) -> None:
        self.assert_clean(
            {
                "agent/proc/x.cc": '#include "agent/proc/y.h"\n#include "common/base/z.h"\n#include "trunkline/v1/admin.pb.h"\n'
                '#include <vector>\n// #include "controller/y.h"\n',
                "trunkctl/x.cc": '#include "controller/wire/y.h"\n',
                "agent/main.cc": '#include "common/base/far_but_reached.h"\n',
                "controller/core/load_model.cc": '#include "controller/core/load_model.h"\n#include "common/base/clock.h"\n'
                '#include "absl/time/time.h"\n#include <map>\n',
                "tests/controller/x.cc": '#include "controller/y.h"\n#include <httplib.h>\n',
                "docs/x.h": '#include "controller/y.h"\n',
            }
        )


if __name__ == "__main__":
    unittest.main()
