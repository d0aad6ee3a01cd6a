// Converts snapshots from plain values to messages, for proxies and operators. Thread-safe; keeps
// no state; has no errors.
#pragma once

#include "controller/core/snapshot_delta.h"
#include "controller/core/snapshot_publisher.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

ForwardingMode ReadMode(v1::ForwardingMode mode);
v1::ForwardingMode WriteMode(ForwardingMode kind);
SnapshotVersion ReadSnapshotId(const v1::SnapshotId& id);
void WriteSnapshotId(const SnapshotVersion& id, v1::SnapshotId* out);
void WriteSnapshot(const ClusterSnapshot& snapshot, v1::Snapshot* out);
void WriteDelta(const ClusterDelta& delta, v1::SnapshotDelta* out);

}  // namespace trunkline
