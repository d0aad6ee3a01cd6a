// Serializes what proxies get once for all of them.
//
// A fleet's proxies hold the same snapshot nearly always, so they get the same delta at the same
// time. Only the nonce differs, which is of the stream. Messages of protobuf concatenate: a
// response is a slice with the nonce and a slice with the content, which all responses share.
//
// Externally synchronized. The slices are immutable and may outlive the cache. Has no errors.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "controller/core/snapshot_publisher.h"

namespace trunkline {

class ResponseCache {
 public:
  using SnapshotPtr = std::shared_ptr<const ClusterSnapshot>;

  // Forgets what it serialized for an earlier snapshot. Call before the others.
  void SetCurrent(SnapshotPtr current);
  const SnapshotPtr& current() const { return current_; }

  // The content of a v1::SubscribeResponse with the whole snapshot, and with the changes since
  // `base`, which is one of SnapshotPublisher's history.
  const grpc::Slice& Whole();
  const grpc::Slice& DeltaFrom(const ClusterSnapshot& base);

 private:
  SnapshotPtr current_;
  std::optional<grpc::Slice> whole_;
  std::map<SnapshotVersion, grpc::Slice> deltas_;  // by base
};

// Returns the response `nonce` with that content.
grpc::ByteBuffer MakeResponse(uint64_t nonce, const grpc::Slice& content);

}  // namespace trunkline
