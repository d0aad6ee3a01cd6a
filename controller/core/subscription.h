// Decides the next response to one proxy: none, "up to date", a delta or the whole snapshot.
//
// Implements the rules of discovery.proto without the transport. It sends only the newest version,
// and only after the ACK or NACK of the previous response. After a NACK it waits for a newer
// version and sends it whole, so that a proxy does not refuse the same snapshot in a loop. Pure;
// externally synchronized (by the stream). Has no errors.
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
    // Set for kDelta.
    SnapshotPtr base;
  };
  enum class AckVerdict { kApplied, kRefused, kIgnored };

  // `have` is the snapshot that the proxy holds; {0, 0} if none.
  explicit Subscription(SnapshotVersion have) : have_(have) {}

  // Returns the response to send now and counts it as sent. `history` must contain `current`.
  Response Next(const SnapshotPtr& current, const std::deque<SnapshotPtr>& history);
  // `have` is the snapshot that the proxy holds after the response with `nonce`; `refused` is true
  // for a NACK.
  AckVerdict OnAck(uint64_t nonce, SnapshotVersion have, bool refused);

  SnapshotVersion have() const { return have_; }

 private:
  SnapshotVersion have_;
  bool greeted_ = false;
  bool everything_ = false;
  uint64_t next_nonce_ = 1;
  // The nonce without an ACK or NACK yet; 0 if there is none.
  uint64_t outstanding_ = 0;
  SnapshotVersion sent_;
  SnapshotVersion refused_;
};

}  // namespace trunkline
