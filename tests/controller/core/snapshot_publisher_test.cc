#include "controller/core/snapshot_publisher.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "controller/core/stored_state.h"

namespace trunkline {
namespace {

std::shared_ptr<const SnapshotService> Named(const std::string& name, double weight = 1) {
  auto service = std::make_shared<SnapshotService>();
  service->name = name;
  service->listen = {"127.0.0.1:9000"};
  service->endpoints.push_back({"a", "10.0.0.1:7073", weight, false, 1});
  return service;
}

TEST(SnapshotPublisherTest, FirstSnapshotHasTheGivenId) {
  SnapshotPublisher publisher(7, 12);
  EXPECT_EQ(publisher.current(), nullptr);
  EXPECT_TRUE(publisher.Publish({}));
  EXPECT_EQ(publisher.current()->id, (SnapshotVersion{7, 12}));
}

TEST(SnapshotPublisherTest, FirstVersionIsNeverOneThatProxiesMayHold) {
  EXPECT_EQ(FirstVersion(std::nullopt, 5000), (SnapshotVersion{5000, 1}));
  StoredState stored;
  stored.epoch = 4000;
  stored.version = 12;
  stored.orderly = true;
  EXPECT_EQ(FirstVersion(stored, 5000), (SnapshotVersion{4000, 13}));
  stored.orderly = false;
  EXPECT_EQ(FirstVersion(stored, 5000), (SnapshotVersion{5000, 1}));
  EXPECT_EQ(FirstVersion(stored, 3000), (SnapshotVersion{4001, 1})) << "the clock was set back";
}

TEST(SnapshotPublisherTest, UnchangedContentTakesNoVersion) {
  SnapshotPublisher publisher(1, 1);
  EXPECT_TRUE(publisher.Publish({Named("db")}));
  EXPECT_FALSE(publisher.Publish({Named("db")}));
  EXPECT_TRUE(publisher.Publish({Named("db", 2)}));
  EXPECT_EQ(publisher.current()->id.version, 2u);
}

TEST(SnapshotPublisherTest, PublishedSnapshotsNeverChange) {
  SnapshotPublisher publisher(1, 1);
  publisher.Publish({Named("db")});
  const std::shared_ptr<const ClusterSnapshot> held = publisher.current();
  publisher.Publish({Named("db", 2)});
  EXPECT_EQ(held->services[0]->endpoints[0].weight, 1);
}

TEST(SnapshotPublisherTest, HistoryIsBounded) {
  SnapshotPublisher publisher(1, 1);
  for (int i = 0; i < 100; ++i) publisher.Publish({Named("db", i)});
  EXPECT_EQ(publisher.history().size(), SnapshotPublisher::kHistory);
  EXPECT_EQ(publisher.history().back(), publisher.current());
}

TEST(SnapshotPublisherTest, NewerVersionAtAProxyRaisesTheEpoch) {
  SnapshotPublisher publisher(100, 1);
  publisher.Publish({Named("db")});
  publisher.RiseAbove({99, 1000});
  EXPECT_EQ(publisher.current()->id, (SnapshotVersion{100, 1}));
  publisher.RiseAbove({150, 8});
  EXPECT_EQ(publisher.current()->id, (SnapshotVersion{151, 1}));
  EXPECT_EQ(publisher.history().size(), 1u) << "no delta crosses an epoch";
  publisher.Publish({Named("db", 2)});
  EXPECT_EQ(publisher.current()->id, (SnapshotVersion{151, 2}));
}

}  // namespace
}  // namespace trunkline
