// Finds the processes that hold any of some sockets, by the links /proc/PID/fd/N.
//
// A host may have a million descriptors, so a search proceeds in steps of bounded cost. It sees the
// processes of the agent's process namespace whose descriptors the agent may read: those of its own
// user, or all with CAP_SYS_PTRACE. Edge: reads through SystemFiles. Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/system_files.h"

namespace trunkline {

class SocketHolders {
 public:
  // A link takes up to 5 us, so a step, with one process beyond it, takes at most 50 ms.
  static constexpr size_t kMaxLinksPerStep = 5000;
  // A process that has more descriptors below that of its listening socket is not found. Listening
  // sockets are among the first that a server opens.
  static constexpr size_t kMaxLinksPerProcess = 4096;

  // Descriptors of one process: paths like /proc/70/fd/3, by the inode of their socket.
  using Descriptors = std::map<std::string, uint32_t>;

  // `files` outlives the object.
  explicit SocketHolders(const SystemFiles& files) : files_(files) {}

  // Starts a search for the holders of `inodes` and drops the results of the last one.
  void Start(std::set<uint32_t> inodes);
  // Visits processes until it has seen `max_links` descriptors. Returns true if the search is
  // complete.
  bool Step(size_t max_links = kMaxLinksPerStep);

  // Results so far, by process id.
  const std::map<int, Descriptors>& found() const { return found_; }
  // Whether the descriptors of some process could not be read for lack of permission.
  bool some_unreadable() const { return some_unreadable_; }

  // Returns whether one of `descriptors` still is one of `inodes`. True if it can no longer be
  // read: a server that changes its user after it has opened its port is still the same.
  bool StillHolds(const Descriptors& descriptors, const std::set<uint32_t>& inodes) const;

 private:
  const SystemFiles& files_;
  std::set<uint32_t> inodes_;
  // Processes to visit, the last first.
  std::vector<int> pids_;
  std::map<int, Descriptors> found_;
  bool some_unreadable_ = false;
};

}  // namespace trunkline
