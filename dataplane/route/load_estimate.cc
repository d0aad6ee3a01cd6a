#include "dataplane/route/load_estimate.h"

#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {
void LoadEstimate::OnReport(const ServerLoad& report, MonotonicTime now) {
  report_ = report;
  own_at_report_ = own_;
  known_ = true;
  heard_at_ = now;
}

bool LoadEstimate::ForgetIfOld(MonotonicTime now) {
  if (!known_ || now - heard_at_ < kFreshFor) return false;
  known_ = false;
  return true;
}

}  // namespace trunkline
