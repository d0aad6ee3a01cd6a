// Waits for a condition that no descriptor and no call reports.
#pragma once

#include <poll.h>

#include <functional>

#include "common/base/clock.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// Polls `condition`. Returns false after 20 s.
inline bool Eventually(const std::function<bool()>& condition) {
  const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(kPatienceMillis);
  while (!condition()) {
    if (MonotonicNow() > deadline) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

}  // namespace trunkline::test
