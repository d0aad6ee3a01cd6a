#include "common/base/backoff.h"

#include <algorithm>

#include "absl/time/time.h"

namespace trunkline {

absl::Duration Backoff::Next(double uniform) {
  const absl::Duration wait = base_ * (0.5 + 0.5 * uniform);
  base_ = std::min(options_.max, base_ * options_.factor);
  return wait;
}

}  // namespace trunkline
