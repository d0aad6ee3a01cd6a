#include "dataplane/control/snapshot_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Snapshot Held() {
  v1::Snapshot snapshot;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    id { epoch: 3 version: 7 }
    services { name: "cache" endpoints { endpoint_id: "a" address: "10.0.0.9:1" weight: 1 } }
    services {
      name: "db"
      endpoints { endpoint_id: "a" address: "10.0.0.1:1" weight: 2 capacity: 4 }
      endpoints { endpoint_id: "b" address: "10.0.0.2:1" weight: 1 capacity: 3 }
      endpoints { endpoint_id: "c" address: "10.0.0.3:1" weight: 0.5 capacity: 2 }
      endpoints { endpoint_id: "d" address: "10.0.0.4:1" weight: 3 capacity: 1 }
    })",
                                                            &snapshot));
  return snapshot;
}

v1::SnapshotDelta Delta(const std::string& content) {
  v1::SnapshotDelta delta;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      absl::StrCat("base { epoch: 3 version: 7 } id { epoch: 3 version: 8 } ", content), &delta))
      << content;
  return delta;
}

absl::StatusOr<v1::Snapshot> Apply(const std::string& content) {
  return ApplyDelta(Held(), Delta(content));
}

// The delta that changes service db.
absl::StatusOr<v1::Snapshot> ApplyToDb(const std::string& content) {
  return Apply(absl::StrCat("changed_services { name: 'db' ", content, " }"));
}

// Returns the endpoints of db, each as "id weight capacity".
std::vector<std::string> Db(const absl::StatusOr<v1::Snapshot>& snapshot) {
  std::vector<std::string> endpoints;
  if (!snapshot.ok()) return {snapshot.status().ToString()};
  for (const v1::Endpoint& endpoint : snapshot->services(1).endpoints()) {
    endpoints.push_back(
        absl::StrCat(endpoint.endpoint_id(), " ", endpoint.weight(), " ", endpoint.capacity()));
  }
  return endpoints;
}

std::string Refusal(const absl::StatusOr<v1::Snapshot>& snapshot) {
  EXPECT_TRUE(absl::IsFailedPrecondition(snapshot.status()) ||
              absl::IsInvalidArgument(snapshot.status()))
      << snapshot.status();
  return std::string(snapshot.status().message());
}

TEST(ApplyDeltaTest, NumbersGoToThePositionsOfTheBase) {
  EXPECT_THAT(Db(ApplyToDb("weights { skipped: [1, 1] values: [15000, 200] } "
                           "capacities { skipped: 0 values: 12345 }")),
              ElementsAre("a 2 1.2345", "b 1.5 3", "c 0.5 2", "d 0.02 1"));
}

TEST(ApplyDeltaTest, EverythingElseStays) {
  const auto next = ApplyToDb("weights { skipped: 0 values: 20000 }");
  ASSERT_TRUE(next.ok()) << next.status();
  v1::Snapshot expected = Held();
  expected.mutable_id()->set_version(8);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*next, expected));
}

TEST(ApplyDeltaTest, EndpointsAreAddedReplacedAndRemoved) {
  EXPECT_THAT(Db(ApplyToDb("removed_endpoints: ['a', 'c'] "
                           "endpoints { endpoint_id: '0' weight: 7 } "
                           "endpoints { endpoint_id: 'b' weight: 8 } "
                           "endpoints { endpoint_id: 'bb' weight: 9 } "
                           "endpoints { endpoint_id: 'e' weight: 10 }")),
              ElementsAre("0 7 0", "b 8 0", "bb 9 0", "d 3 1", "e 10 0"))
      << "and stay sorted";
}

TEST(ApplyDeltaTest, PositionsCountBeforeEndpointsLeave) {
  EXPECT_THAT(Db(ApplyToDb("weights { skipped: 3 values: 40000 } removed_endpoints: 'a'")),
              ElementsAre("b 1 3", "c 0.5 2", "d 4 1"));
}

// A weight at the wrong endpoint would overload a server, so a delta that does not fit is refused.
TEST(ApplyDeltaTest, PositionBeyondTheBaseIsRefused) {
  EXPECT_THAT(Refusal(ApplyToDb("weights { skipped: 4 values: 1 }")),
              AllOf(HasSubstr("db"), HasSubstr("position 4 of 4")));
  EXPECT_THAT(Refusal(ApplyToDb("capacities { skipped: [3, 0] values: [1, 1] }")),
              HasSubstr("position 4 of 4"));
  EXPECT_THAT(Refusal(ApplyToDb("weights { skipped: [0, 4294967295, 4294967295] "
                                "values: [1, 1, 1] }")),
              HasSubstr("position 4294967296 of 4"))
      << "positions must not wrap around";
}

TEST(ApplyDeltaTest, NumbersWithoutEndpointsAreRefused) {
  EXPECT_THAT(Refusal(ApplyToDb("weights { skipped: 0 values: [1, 2] }")),
              AllOf(HasSubstr("db"), HasSubstr("2 new numbers for 1 endpoints")));
  EXPECT_THAT(Refusal(ApplyToDb("weights { skipped: [0, 0] values: 1 }")),
              HasSubstr("1 new numbers for 2 endpoints"));
}

TEST(ApplyDeltaTest, RemovalOfAnUnknownEndpointIsRefused) {
  EXPECT_THAT(Refusal(ApplyToDb("removed_endpoints: 'x'")), HasSubstr("no endpoint x to remove"));
  EXPECT_THAT(Refusal(ApplyToDb("removed_endpoints: ['aa', 'b']")), HasSubstr("no endpoint aa"));
}

TEST(ApplyDeltaTest, UnsortedChangesAreRefused) {
  EXPECT_THAT(Refusal(ApplyToDb("removed_endpoints: ['b', 'a']")), HasSubstr("not sorted"));
  EXPECT_THAT(Refusal(ApplyToDb("removed_endpoints: ['a', 'a']")), HasSubstr("not sorted"));
  EXPECT_THAT(Refusal(ApplyToDb("endpoints { endpoint_id: 'e' } endpoints { endpoint_id: 'e' }")),
              HasSubstr("not sorted"));
}

TEST(ApplyDeltaTest, ServiceThatTheBaseLacksIsRefused) {
  EXPECT_THAT(Refusal(Apply("changed_services { name: 'web' }")), HasSubstr("web"));
  EXPECT_THAT(Refusal(Apply("changed_services { name: 'db' } changed_services { name: 'db' }")),
              HasSubstr("db"));
  EXPECT_THAT(Refusal(Apply("removed_services: 'db' changed_services { name: 'db' }")),
              HasSubstr("db"));
  EXPECT_THAT(Refusal(Apply("services { name: 'db' } changed_services { name: 'db' }")),
              HasSubstr("db"));
}

// A snapshot file may have been written by another program.
TEST(ApplyDeltaTest, BaseThatIsNotSortedTakesNoNewEndpoints) {
  v1::Snapshot base = Held();
  base.mutable_services(1)->mutable_endpoints()->SwapElements(0, 1);
  EXPECT_THAT(
      Refusal(ApplyDelta(base, Delta("changed_services { name: 'db' removed_endpoints: 'a' }"))),
      HasSubstr("not sorted"));
}

}  // namespace
}  // namespace trunkline
