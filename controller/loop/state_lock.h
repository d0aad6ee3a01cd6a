// Keeps a second controller away from a state file, by an exclusive lock on FILE.lock.
//
// The state file itself is replaced by each write, so it cannot carry the lock. The kernel releases
// the lock at the end of the process, however it ends; the lock file stays. It also keeps the id of
// the cluster, which tells a state file that was copied from another cluster. Externally
// synchronized (by main). Errors name the file and the remedy.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace trunkline {

class StateLock {
 public:
  // Locks `state_file` until this object is destroyed. Returns FAILED_PRECONDITION if another
  // process holds the lock.
  static absl::StatusOr<StateLock> Take(const std::string& state_file);

  // The id in the lock file; empty if there is none.
  const std::string& cluster_id() const { return cluster_id_; }
  absl::Status SetClusterId(const std::string& id);

 private:
  StateLock(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  absl::Status ReadClusterId();

  std::string path_;
  UniqueFd fd_;
  std::string cluster_id_;
};

// Returns the id of the cluster that the controller belongs to: `configured`, else that of the
// state file or the lock file, else a new one. Returns FAILED_PRECONDITION if `stored`, the id in
// the state file, is that of another cluster. Empty ids are unknown. A configured name may replace
// a generated id.
absl::StatusOr<std::string> ChooseClusterId(const std::string& state_file,
                                            const std::string& configured,
                                            const std::string& stored, const std::string& locked);

}  // namespace trunkline
