#include "dataplane/control/traffic_reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "dataplane/stats/traffic_stats.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

class TrafficReporterTest : public ::testing::Test {
 protected:
  // Returns the ids in the next report.
  std::vector<std::string> Reported() {
    std::vector<std::string> ids;
    const v1::TrafficReport report = reporter_.Make();
    for (const v1::EndpointTraffic& item : report.endpoints()) ids.push_back(item.endpoint_id());
    return ids;
  }
  TrafficStats stats_{2};
  TrafficReporter reporter_{stats_};
};

TEST_F(TrafficReporterTest, EndpointsWithoutNewsAreOmitted) {
  const auto idle = stats_.Endpoint("db", "idle");
  const auto busy = stats_.Endpoint("db", "busy");
  EndpointCell& cell = busy->cell(1);
  EXPECT_THAT(Reported(), ::testing::IsEmpty());
  const std::function<void()> news[] = {
      [&] { cell.flows.Add(1); },           [&] { cell.resets.Add(1); },
      [&] { cell.connects.Add(1); },        [&] { cell.answered.Add(1); },
      [&] { cell.one_way.Add(1); },         [&] { cell.unanswered.Add(1); },
      [&] { cell.bytes_to_client.Add(1); }, [&] { cell.reply_timeouts.Add(1); },
  };
  for (const auto& happen : news) {
    happen();
    EXPECT_THAT(Reported(), ::testing::ElementsAre("busy"));
    EXPECT_THAT(Reported(), ::testing::IsEmpty());
  }
}

// A missing endpoint would lose its ejection, its health and its flows in flight at the controller.
TEST_F(TrafficReporterTest, StatesAreInEveryReport) {
  const auto endpoint = stats_.Endpoint("db", "e");
  EndpointCell& cell = endpoint->cell(0);
  const auto in_two_reports = [&](const std::string& what) {
    EXPECT_THAT(Reported(), ::testing::ElementsAre("e")) << what;
    EXPECT_THAT(Reported(), ::testing::ElementsAre("e")) << what;
  };
  cell.active.Set(1);
  in_two_reports("a flow in flight");
  cell.active.Set(0);
  cell.ejected.Set(1);
  in_two_reports("an ejection");
  cell.ejected.Set(0);
  EXPECT_THAT(Reported(), ::testing::IsEmpty());
  endpoint->health.Set(EndpointHealth::State::kHealthy);
  in_two_reports("health");
}

TEST_F(TrafficReporterTest, ReportHasAtMostTheEndpointsThatTheControllerReads) {
  std::vector<std::shared_ptr<EndpointStats>> held;
  for (size_t i = 0; i < kMaxClusterEndpoints + 5; ++i) {
    held.push_back(stats_.Endpoint("db", absl::StrCat(i)));
    held.back()->cell(0).flows.Add(1);
  }
  EXPECT_EQ(Reported().size(), kMaxClusterEndpoints);
}

// The second witness of a server's load.
TEST_F(TrafficReporterTest, AnswersWaitsAndBytesAreThoseSinceTheLastReport) {
  const auto endpoint = stats_.Endpoint("db", "e");
  for (int i = 0; i < 2; ++i) {
    for (size_t worker : {0, 1}) {
      EndpointCell& cell = endpoint->cell(worker);
      cell.answered.Add(2);
      cell.first_byte_nanos.Add(worker == 0 ? 2'000'000 : 6'000'000);
      cell.one_way.Add(5);
      cell.unanswered.Add(1);
      cell.bytes_to_server.Add(10);
      cell.bytes_to_client.Add(100);
      cell.load.Set(3);
    }
    const v1::TrafficReport report = reporter_.Make();
    ASSERT_EQ(report.endpoints_size(), 1);
    const v1::EndpointTraffic& item = report.endpoints(0);
    EXPECT_EQ(item.served(), 14u) << "answered, or in need of no answer";
    EXPECT_DOUBLE_EQ(item.first_byte_seconds(), 0.002);
    EXPECT_EQ(item.unanswered(), 2u);
    EXPECT_EQ(item.bytes(), 220u);
    EXPECT_EQ(item.load(), 6u);
  }
}

}  // namespace
}  // namespace trunkline
