// A root directory for SystemFiles that starts as a recorded tree and that a test then changes as a
// kernel would.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/agent/testdata.h"

namespace trunkline {

class FixtureRoot {
 public:
  explicit FixtureRoot(const std::string& tree) : FixtureRoot() { Copy(tree, ""); }
  FixtureRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "agent-root-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~FixtureRoot() { std::filesystem::remove_all(path_); }
  FixtureRoot(const FixtureRoot&) = delete;
  FixtureRoot& operator=(const FixtureRoot&) = delete;

  const std::string& path() const { return path_; }

  // The recorded `tree` (or a part of it) under `at`.
  void Copy(const std::string& tree, const std::string& at) {
    std::filesystem::create_directories(path_ + at);
    std::filesystem::copy(TestdataPath(tree), path_ + at,
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
  }

  void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path_ + file).parent_path());
    std::ofstream(path_ + file) << text;
  }

  void Remove(const std::string& file) { std::filesystem::remove_all(path_ + file); }

  // A process as /proc shows it, running since `start_ticks`.
  void WriteProcess(int pid, int parent, uint64_t own_ticks, uint64_t reaped_ticks,
                    uint64_t start_ticks) {
    const std::string zeros = " 0 -1 0 0 0 0 0";
    Write("/proc/" + std::to_string(pid) + "/stat",
          std::to_string(pid) + " (server) S " + std::to_string(parent) + " 1 1" + zeros + " " +
              std::to_string(own_ticks) + " 0 " + std::to_string(reaped_ticks) + " 0 20 0 1 0 " +
              std::to_string(start_ticks) + " 1 1\n");
  }

 private:
  std::string path_;
};

}  // namespace trunkline
