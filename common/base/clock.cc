#include "common/base/clock.h"

#include <time.h>

#include <cstdint>

namespace trunkline {

MonotonicTime MonotonicNow() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return MonotonicTime::FromNanos(static_cast<int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec);
}

}  // namespace trunkline
