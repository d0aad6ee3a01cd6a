#include "common/trunk/trunk_congestion.h"

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

void TrunkCongestion::Measure(MonotonicTime now, const Totals& totals) {
  const double seconds = absl::ToDoubleSeconds(now - measured_at_);
  const auto bytes = static_cast<double>(totals.bytes - last_.bytes);
  if (bytes > kBulkBytesPerSecond * seconds) bulk_until_ = now + kRemembered;
  const uint64_t resent = totals.resent - last_.resent;
  const double most = kLossyShare * static_cast<double>(totals.segments - last_.segments);
  if (resent >= kLossyAtLeast && static_cast<double>(resent) > most) {
    lossy_until_ = now + kRemembered;
  }
  measured_at_ = now;
  last_ = totals;
}

TrunkCongestion::Level TrunkCongestion::level(MonotonicTime now) const {
  if (now >= behind_since_ + kBehindFor || now < lossy_until_) return Level::kBlocked;
  return now < bulk_until_ ? Level::kBulk : Level::kNone;
}

}  // namespace trunkline
