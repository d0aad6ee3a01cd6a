// What one proxy gets next: nothing, "up to date", a delta or everything.
//
// The protocol's rules without its transport: the latest version only, the next only after the ACK
// or NACK of the one before; after a NACK everything, but not before there is something newer than
// what was refused, so that a proxy that refuses is not asked in a circle. Pure; externally
// synchronized (its stream). Cannot fail.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "controller/core/snapshot_publisher.h"

namespace trunkline {

class Subscription {
 public:
  using SnapshotPtr = std::shared_ptr<const ClusterSnapshot>;
  enum class Kind { kNothing, kUpToDate, kDelta, kSnapshot };
  struct Response {
    Kind kind = Kind::kNothing;
    uint64_t nonce = 0;
    // Of kDelta.
    SnapshotPtr base;
  };
  enum class AckVerdict { kApplied, kRefused, kIgnored };

  // `have`: what the proxy says that it holds; zeros: nothing.
  explicit Subscription(SnapshotVersion have) : have_(have) {}

  // What to send now; the response counts as sent. `history` holds `current`.
  Response Next(const SnapshotPtr& current, const std::deque<SnapshotPtr>& history);
  // `have`: what the proxy holds after the response with `nonce`; `refused`: a NACK.
  AckVerdict OnAck(uint64_t nonce, SnapshotVersion have, bool refused);

  SnapshotVersion have() const { return have_; }

 private:
  SnapshotVersion have_;
  bool greeted_ = false;
  bool everything_ = false;
  uint64_t next_nonce_ = 1;
  // 0: none outstanding.
  uint64_t outstanding_ = 0;
  SnapshotVersion sent_;
  SnapshotVersion refused_;
};

}  // namespace trunkline
