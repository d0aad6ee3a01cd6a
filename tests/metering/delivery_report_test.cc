#include "examples/metering/delivery_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace trunkline::metering {
namespace {

using testing::HasSubstr;

DeliveryReport Report() {
  return DeliveryReport({.seed = 7, .collectors = 10, .rate = 1, .slo = absl::Milliseconds(200)});
}

TEST(DeliveryReportTest, PercentilesAreNearestRank) {
  std::vector<double> latencies;
  for (int i = 1000; i >= 1; --i) latencies.push_back(i);
  const Percentiles p = PercentilesOf(latencies);
  EXPECT_EQ(p.p50, 500);
  EXPECT_EQ(p.p99, 990);
  EXPECT_EQ(p.p999, 999);
  EXPECT_EQ(p.max, 1000);
  std::vector<double> none;
  EXPECT_EQ(PercentilesOf(none).max, 0);
}

TEST(DeliveryReportTest, LateAndUnacknowledgedReadingsAreMisses) {
  DeliveryReport report = Report();
  for (int i = 0; i < 4; ++i) report.Sent(absl::Milliseconds(100 * i));
  report.Acknowledged(absl::ZeroDuration(), absl::Milliseconds(200));     // just in time
  report.Acknowledged(absl::Milliseconds(100), absl::Milliseconds(201));  // late
  EXPECT_EQ(report.in_flight(), 2u);
  EXPECT_FALSE(report.all_acknowledged());
  EXPECT_THAT(report.Table(), HasSubstr("misses          3 (75.000 %)"));
  EXPECT_THAT(report.Json(), HasSubstr("\"misses\": 3"));
}

TEST(DeliveryReportTest, LateReadingCountsInItsIntendedSecond) {
  DeliveryReport report = Report();
  report.Sent(absl::Seconds(1));
  report.Sent(absl::Seconds(2));
  report.Acknowledged(absl::Seconds(1), absl::Seconds(5));
  report.Acknowledged(absl::Seconds(2), absl::Milliseconds(1));
  const std::string json = report.Json();
  EXPECT_THAT(json, HasSubstr(R"({"second": 0, "sent": 0, "acknowledged": 0, "misses": 0)"));
  EXPECT_THAT(json, HasSubstr(R"({"second": 1, "sent": 1, "acknowledged": 1, "misses": 1)"));
  EXPECT_THAT(json, HasSubstr(R"({"second": 2, "sent": 1, "acknowledged": 1, "misses": 0)"));
}

TEST(DeliveryReportTest, RefusedReadingIsFinishedButNotAcknowledged) {
  DeliveryReport report = Report();
  report.Sent(absl::ZeroDuration());
  report.Refused();
  EXPECT_EQ(report.in_flight(), 0u);
  EXPECT_FALSE(report.all_acknowledged());
}

}  // namespace
}  // namespace trunkline::metering
