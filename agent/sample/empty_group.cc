#include "agent/sample/empty_group.h"

#include "absl/status/statusor.h"
#include "agent/sample/cgroup_place.h"
#include "common/base/system_files.h"

namespace trunkline {

bool EmptyGroup::Update(const SystemFiles& files, const CgroupPlace& place) {
  if (directory_ != place.directory()) {
    *this = {};
    directory_ = place.directory();
  }
  if (hides_processes_) return false;
  if (!place.Empty(files).value_or(false)) {
    used_then_.reset();
    return false;
  }
  const absl::StatusOr<double> used = place.CpuSeconds(files);
  if (!used.ok()) return true;
  if (!used_then_.has_value()) {
    used_then_ = *used;
    return false;
  }
  hides_processes_ = *used > *used_then_ + kUsedBySomeone;
  return !hides_processes_;
}

}  // namespace trunkline
