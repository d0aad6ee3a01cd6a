// A root directory for SystemFiles: a copy of a recorded tree that a test changes as a kernel
// would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "tests/agent/testdata.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {

class FixtureRoot {
 public:
  FixtureRoot() = default;
  explicit FixtureRoot(const std::string& tree) { Copy(tree, ""); }

  const std::string& path() const { return folder_.path(); }

  // Copies the recorded `tree`, or a part of one, to `at`.
  void Copy(const std::string& tree, const std::string& at) {
    std::filesystem::create_directories(path() + at);
    std::filesystem::copy(TestdataPath(tree), path() + at,
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
  }

  // `file` begins with a slash, like the kernel's paths.
  void Write(const std::string& file, const std::string& text) {
    folder_.Write(file.substr(1), text);
  }

  // Lets a process hold sockets, by descriptor and inode.
  void WriteSockets(int pid, const std::map<int, uint32_t>& inodes) {
    const std::string directory = path() + "/proc/" + std::to_string(pid) + "/fd";
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory);
    std::filesystem::create_symlink("/dev/null", directory + "/0");
    for (const auto& [fd, inode] : inodes) {
      std::filesystem::create_symlink("socket:[" + std::to_string(inode) + "]",
                                      directory + "/" + std::to_string(fd));
    }
  }

  void Remove(const std::string& file) { std::filesystem::remove_all(path() + file); }

  // Adds a process to /proc that runs since `start_ticks`.
  void WriteProcess(int pid, int parent, uint64_t own_ticks, uint64_t reaped_ticks,
                    uint64_t start_ticks, const std::string& command = "server") {
    const std::string zeros = " 0 -1 0 0 0 0 0";
    Write("/proc/" + std::to_string(pid) + "/stat",
          std::to_string(pid) + " (" + command + ") S " + std::to_string(parent) + " 1 1" + zeros +
              " " + std::to_string(own_ticks) + " 0 " + std::to_string(reaped_ticks) +
              " 0 20 0 1 0 " + std::to_string(start_ticks) + " 1 1\n");
  }

 private:
  const test::ScratchFolder folder_;
};

}  // namespace trunkline
