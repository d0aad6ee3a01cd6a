// Tells whether a control group has no process in it, so that its CPU time and memory are not those
// of a server that runs.
//
// An agent in a process namespace of its own may not see the processes of a group (version 1 omits
// them from cgroup.procs). They use CPU time all the same, which gives them away.
//
// Externally synchronized.
#pragma once

#include <optional>
#include <string>

#include "agent/sample/cgroup_place.h"
#include "common/base/system_files.h"

namespace trunkline {

class EmptyGroup {
 public:
  // CPU seconds. Processes that are ending may use a little after they have left the list.
  static constexpr double kUsedBySomeone = 0.01;

  // Call once per second; the second call in a row knows. Returns false if it is not known.
  bool Update(const SystemFiles& files, const CgroupPlace& place);

 private:
  std::string directory_;
  // CPU seconds of the group when its list was first found empty.
  std::optional<double> used_then_;
  bool hides_processes_ = false;
};

}  // namespace trunkline
