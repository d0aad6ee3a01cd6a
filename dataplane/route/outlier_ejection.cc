#include "dataplane/route/outlier_ejection.h"

#include <algorithm>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

absl::Duration OutlierEjection::Duration(const Record& record) const {
  return std::min(kMax, base_ * record.ejections);
}

bool OutlierEjection::OnFailed(Record& record, MonotonicTime now, double uniform) const {
  constexpr double kJitter = 0.1;
  if (++record.failed_in_row < kFailuresToEject || record.ejected) return false;
  ++record.ejections;
  record.failed_in_row = 0;
  record.ejected = true;
  record.until = now + Duration(record) * (1 - kJitter + 2 * kJitter * uniform);
  return true;
}

bool OutlierEjection::End(Record& record, MonotonicTime now) const {
  if (!record.ejected || record.until > now) return false;
  record.ejected = false;
  return true;
}

}  // namespace trunkline
