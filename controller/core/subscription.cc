#include "controller/core/subscription.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

namespace trunkline {

Subscription::Response Subscription::Next(const SnapshotPtr& current,
                                          const std::deque<SnapshotPtr>& history) {
  const bool first = !std::exchange(greeted_, true);
  if (outstanding_ != 0 || current->id == refused_) return {};
  if (current->id == have_ && !everything_) {
    if (!first) return {};
    return {Kind::kUpToDate, next_nonce_++, nullptr};
  }
  outstanding_ = next_nonce_++;
  sent_ = current->id;
  const auto base = std::find_if(history.begin(), history.end(),
                                 [&](const SnapshotPtr& old) { return old->id == have_; });
  if (everything_ || base == history.end()) return {Kind::kSnapshot, outstanding_, nullptr};
  return {Kind::kDelta, outstanding_, *base};
}

Subscription::AckVerdict Subscription::OnAck(uint64_t nonce, SnapshotVersion have, bool refused) {
  if (nonce == 0 || nonce != outstanding_) return AckVerdict::kIgnored;
  outstanding_ = 0;
  have_ = have;
  everything_ = refused || have != sent_;
  refused_ = refused ? sent_ : SnapshotVersion{};
  return refused ? AckVerdict::kRefused : AckVerdict::kApplied;
}

}  // namespace trunkline
