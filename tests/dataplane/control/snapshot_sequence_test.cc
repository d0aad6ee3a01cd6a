// A proxy's snapshots: responses of the controller applied, and weights during its silence.
#include "dataplane/control/snapshot_sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "tests/dataplane/control/held_snapshot.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::SubscribeResponse Response(const std::string& text) {
  v1::SubscribeResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

std::vector<std::string> Names(const v1::Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const v1::Service& service : snapshot.services()) names.push_back(service.name());
  return names;
}

TEST(NextSnapshotTest, UpToDateKeepsTheSnapshot) {
  const auto next = NextSnapshot(Snapshot(kHeld), Response("up_to_date { epoch: 3 version: 7 }"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*next, Snapshot(kHeld)));
}

TEST(NextSnapshotTest, UpToDateWithAnotherVersionIsRefused) {
  const auto next = NextSnapshot(Snapshot(kHeld), Response("up_to_date { epoch: 3 version: 6 }"));
  EXPECT_TRUE(absl::IsFailedPrecondition(next.status())) << next.status();
}

TEST(NextSnapshotTest, WholeSnapshotReplacesEverything) {
  const auto next = NextSnapshot(
      Snapshot(kHeld), Response("snapshot { id { epoch: 3 version: 8 } services { name: 'x' } }"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(Names(*next), std::vector<std::string>{"x"});
}

TEST(NextSnapshotTest, OlderSnapshotIsRefusedWithBothVersions) {
  const auto next =
      NextSnapshot(Snapshot(kHeld), Response("snapshot { id { epoch: 3 version: 6 } }"));
  EXPECT_TRUE(absl::IsFailedPrecondition(next.status()));
  EXPECT_THAT(std::string(next.status().message()), AllOf(HasSubstr("3/6"), HasSubstr("3/7")));
}

TEST(NextSnapshotTest, OlderEpochIsRefusedHoweverLargeItsVersion) {
  EXPECT_FALSE(
      NextSnapshot(Snapshot(kHeld), Response("snapshot { id { epoch: 2 version: 99 } }")).ok());
  EXPECT_TRUE(
      NextSnapshot(Snapshot(kHeld), Response("snapshot { id { epoch: 4 version: 1 } }")).ok());
}

TEST(NextSnapshotTest, DeltaReplacesServicesAndRemovesThemByName) {
  const auto next = NextSnapshot(Snapshot(kHeld), Response(R"(delta {
    base { epoch: 3 version: 7 } id { epoch: 3 version: 8 }
    services { name: "db" endpoints { endpoint_id: "c" } }
    services { name: "apps" }
    removed_services: "cache" removed_services: "never-was" })"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(Names(*next), (std::vector<std::string>{"apps", "db"})) << "sorted by name";
  EXPECT_EQ(next->services(1).endpoints(0).endpoint_id(), "c");
  EXPECT_EQ(next->id().version(), 8u);
}

TEST(NextSnapshotTest, DeltaForAnotherBaseIsRefusedWithBothVersions) {
  const auto next =
      NextSnapshot(Snapshot(kHeld),
                   Response("delta { base { epoch: 3 version: 5 } id { epoch: 3 version: 8 } }"));
  EXPECT_TRUE(absl::IsFailedPrecondition(next.status()));
  EXPECT_THAT(std::string(next.status().message()), AllOf(HasSubstr("3/5"), HasSubstr("3/7")));
}

TEST(NextSnapshotTest, DeltaThatGoesBackIsRefused) {
  EXPECT_FALSE(NextSnapshot(Snapshot(kHeld), Response("delta { base { epoch: 3 version: 7 } "
                                                      "id { epoch: 3 version: 6 } }"))
                   .ok());
}

TEST(NextSnapshotTest, EmptyResponseIsRefused) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(NextSnapshot(Snapshot(kHeld), Response("nonce: 1")).status()));
}

std::vector<double> Weights(const v1::Service& service) {
  std::vector<double> weights;
  for (const v1::Endpoint& endpoint : service.endpoints()) weights.push_back(endpoint.weight());
  return weights;
}

std::vector<double> Relaxed(absl::Duration silence) {
  return Weights(RelaxedSnapshot(Snapshot(kHeld), silence).services(1));
}

TEST(RelaxedSnapshotTest, WeightsDoNotRelaxDuringTheFirstMinuteOfSilence) {
  EXPECT_EQ(Relaxed(absl::ZeroDuration()), (std::vector<double>{2, 1}));
  EXPECT_EQ(Relaxed(absl::Minutes(1)), (std::vector<double>{2, 1}));
}

// With equal capacities both weights approach 1.5, by half of the distance every 30 s.
TEST(RelaxedSnapshotTest, WeightsApproachCapacityWithAHalfLifeOfThirtySeconds) {
  EXPECT_THAT(
      Relaxed(absl::Seconds(90)),
      ::testing::ElementsAre(::testing::DoubleNear(1.75, 1e-9), ::testing::DoubleNear(1.25, 1e-9)));
  EXPECT_THAT(Relaxed(absl::Hours(1)), ::testing::ElementsAre(::testing::DoubleNear(1.5, 1e-6),
                                                              ::testing::DoubleNear(1.5, 1e-6)));
}

TEST(RelaxedSnapshotTest, DrainingEndpointsAndUnknownCapacitiesDoNotRelax) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_endpoints(0)->set_draining(true);
  v1::Service relaxed = RelaxedSnapshot(snapshot, absl::Hours(1)).services(1);
  EXPECT_TRUE(relaxed.endpoints(0).draining());
  EXPECT_EQ(relaxed.endpoints(0).weight(), 2);
  EXPECT_NEAR(relaxed.endpoints(1).weight(), 1, 1e-9);
  for (v1::Endpoint& endpoint : *snapshot.mutable_services(1)->mutable_endpoints()) {
    endpoint.set_draining(false);
    endpoint.clear_capacity();
  }
  EXPECT_EQ(Weights(RelaxedSnapshot(snapshot, absl::Hours(1)).services(1)),
            (std::vector<double>{2, 1}));
}

}  // namespace
}  // namespace trunkline
