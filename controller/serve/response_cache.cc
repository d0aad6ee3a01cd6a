#include "controller/serve/response_cache.h"

#include <array>
#include <cstdint>
#include <utility>

#include "controller/core/snapshot_delta.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/wire/snapshot.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {

void ResponseCache::SetCurrent(SnapshotPtr current) {
  if (current == current_) return;
  current_ = std::move(current);
  whole_.reset();
  deltas_.clear();
}

const grpc::Slice& ResponseCache::Whole() {
  if (!whole_.has_value()) {
    v1::SubscribeResponse content;
    WriteSnapshot(*current_, content.mutable_snapshot());
    whole_.emplace(content.SerializeAsString());
  }
  return *whole_;
}

const grpc::Slice& ResponseCache::DeltaFrom(const ClusterSnapshot& base) {
  auto delta = deltas_.find(base.id);
  if (delta == deltas_.end()) {
    v1::SubscribeResponse content;
    WriteDelta(Diff(base, *current_), content.mutable_delta());
    delta = deltas_.emplace(base.id, grpc::Slice(content.SerializeAsString())).first;
  }
  return delta->second;
}

grpc::ByteBuffer MakeResponse(uint64_t nonce, const grpc::Slice& content) {
  v1::SubscribeResponse own;
  own.set_nonce(nonce);
  const std::array<grpc::Slice, 2> slices = {grpc::Slice(own.SerializeAsString()), content};
  return {slices.data(), slices.size()};
}

}  // namespace trunkline
