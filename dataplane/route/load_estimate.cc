#include "dataplane/route/load_estimate.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/base/clock.h"
#include "common/inband/inband_report.h"

namespace trunkline {
namespace {

// Above this utilization a server has little capacity left, whatever its queue is.
constexpr uint32_t kBusyUtilization = 850;  // thousandths
constexpr double kHotQuantile = 0.84;

}  // namespace

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

bool LoadEstimate::busy() const {
  return known_ && report_.utilization != ServerLoad::kUnknown &&
         report_.utilization >= kBusyUtilization;
}

double HotAbove(std::vector<double>& scores) {
  if (scores.empty()) return std::numeric_limits<double>::infinity();
  const auto rank = static_cast<ptrdiff_t>(kHotQuantile * static_cast<double>(scores.size() - 1));
  std::nth_element(scores.begin(), scores.begin() + rank, scores.end());
  return scores[static_cast<size_t>(rank)];
}

}  // namespace trunkline
