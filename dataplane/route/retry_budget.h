// Bounds how much of a service's load may be retries, so that a dead service does not double its
// own load.
//
// A token bucket that is filled by traffic: every flow deposits a fifth of a retry, up to 100.
// Retries are thus at most 20 % of the flows, after a burst of 100.
//
// Pure. Externally synchronized.
#pragma once

#include <algorithm>

namespace trunkline {

class RetryBudget {
 public:
  static constexpr double kTokensPerFlow = 0.2;
  static constexpr double kMaxTokens = 100;

  // A flow, or a request in message mode, was routed for the first time.
  void Deposit() { tokens_ = std::min(kMaxTokens, tokens_ + kTokensPerFlow); }
  // Returns false if no retry is left; otherwise takes it.
  [[nodiscard]] bool Withdraw() {
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  double tokens_ = kMaxTokens;
};

}  // namespace trunkline
