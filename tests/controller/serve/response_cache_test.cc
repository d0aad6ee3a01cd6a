#include "controller/serve/response_cache.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "controller/core/snapshot_publisher.h"
#include "controller/wire/snapshot.h"
#include "google/protobuf/util/message_differencer.h"
#include "trunkline/v1/discovery.grpc.pb.h"

namespace trunkline {
namespace {

using google::protobuf::util::MessageDifferencer;
using SnapshotPtr = std::shared_ptr<const ClusterSnapshot>;

SnapshotPtr Snapshot(uint64_t version, double weight) {
  auto service = std::make_shared<SnapshotService>();
  service->name = "db";
  service->endpoints = {{"a", "10.0.0.1:1", weight, false, 1}, {"b", "10.0.0.2:1", 1, false, 1}};
  return std::make_shared<const ClusterSnapshot>(
      ClusterSnapshot{.id = {1, version}, .services = {service}});
}

v1::SubscribeResponse Parsed(grpc::ByteBuffer bytes) {
  v1::SubscribeResponse response;
  EXPECT_TRUE(
      grpc::SerializationTraits<v1::SubscribeResponse>::Deserialize(&bytes, &response).ok());
  return response;
}

TEST(ResponseCacheTest, ContentIsSerializedOnceForAllProxies) {
  const SnapshotPtr base = Snapshot(1, 1);
  ResponseCache cache;
  cache.SetCurrent(Snapshot(2, 1.5));
  EXPECT_EQ(cache.Whole().begin(), cache.Whole().begin());
  EXPECT_EQ(cache.DeltaFrom(*base).begin(), cache.DeltaFrom(*base).begin());
}

TEST(ResponseCacheTest, EachStreamHasItsNonceAndTheSharedContent) {
  const SnapshotPtr base = Snapshot(1, 1);
  ResponseCache cache;
  cache.SetCurrent(Snapshot(2, 1.5));
  for (const uint64_t nonce : {uint64_t{1}, UINT64_MAX}) {
    const v1::SubscribeResponse delta = Parsed(MakeResponse(nonce, cache.DeltaFrom(*base)));
    EXPECT_EQ(delta.nonce(), nonce);
    EXPECT_EQ(delta.delta().base().version(), 1u);
    EXPECT_EQ(delta.delta().changed_services(0).weights().values(0), 15'000u);
    const v1::SubscribeResponse whole = Parsed(MakeResponse(nonce, cache.Whole()));
    EXPECT_EQ(whole.nonce(), nonce);
    v1::Snapshot expected;
    WriteSnapshot(*cache.current(), &expected);
    EXPECT_TRUE(MessageDifferencer::Equals(whole.snapshot(), expected));
  }
}

TEST(ResponseCacheTest, NewSnapshotReplacesWhatWasSerialized) {
  const SnapshotPtr base = Snapshot(1, 1);
  ResponseCache cache;
  cache.SetCurrent(Snapshot(2, 1.5));
  const grpc::Slice before = cache.DeltaFrom(*base);
  cache.Whole();
  cache.SetCurrent(Snapshot(3, 1.6));
  EXPECT_EQ(Parsed(MakeResponse(1, cache.Whole())).snapshot().id().version(), 3u);
  EXPECT_EQ(Parsed(MakeResponse(1, cache.DeltaFrom(*base))).delta().id().version(), 3u);
  EXPECT_EQ(Parsed(MakeResponse(1, before)).delta().id().version(), 2u) << "still in flight";
}

}  // namespace
}  // namespace trunkline
