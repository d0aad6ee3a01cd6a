// The sums of what proxies report about endpoints.
#include "controller/core/traffic_window.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

const EndpointKey kKey = {"db", "a"};

ProxyTraffic Report(double seconds, uint64_t served,
                    absl::Duration first_byte = absl::ZeroDuration()) {
  ProxyTraffic traffic;
  traffic.seconds = seconds;
  ProxyTraffic::Endpoint endpoint = {.key = kKey};
  endpoint.served = served;
  if (first_byte > absl::ZeroDuration()) endpoint.first_byte = first_byte;
  traffic.endpoints.push_back(endpoint);
  return traffic;
}

// Two proxies whose reports never coincide: the sum must not flicker between them.
TEST(TrafficWindowTest, RatesOfProxiesWithDifferentPhasesAddUp) {
  TrafficWindow window;
  for (int second = 0; second < 10; ++second) {
    window.Add(Report(1, 100), At(second + 0.2));
    window.Add(Report(1, 300), At(second + 0.9));
  }
  for (const double at : {9.91, 10.0, 10.15}) {
    EXPECT_NEAR(window.Measure(kKey, At(at)).served_per_second, 400, 1) << at;
  }
}

// A proxy that reports late covers the time since its last report, not the last second.
TEST(TrafficWindowTest, LateReportIsSpreadOverTheTimeThatItCovers) {
  TrafficWindow window;
  window.Add(Report(10, 1000), At(10));
  EXPECT_NEAR(window.Measure(kKey, At(10)).served_per_second, 100, 1);
}

TEST(TrafficWindowTest, TrafficThatEndedIsForgotten) {
  TrafficWindow window;
  window.Add(Report(1, 100), At(1));
  EXPECT_EQ(window.Measure(kKey, At(20)).served_per_second, 0);
  window.Add(Report(1, 100), At(30));
  EXPECT_EQ(window.Measure(kKey, At(30)).served_per_second, 0)
      << "the second at 1 must not appear in the buckets of the second at 30";
  window.Sweep(At(60));
  EXPECT_EQ(window.size(), 0u);
}

TEST(TrafficWindowTest, WaitIsTheMeanOverTheAnswersOfAllProxies) {
  TrafficWindow window;
  for (int second = 0; second < 6; ++second) {
    window.Add(Report(1, 300, absl::Milliseconds(10)), At(second));
    window.Add(Report(1, 100, absl::Milliseconds(50)), At(second));
  }
  const EndpointTraffic traffic = window.Measure(kKey, At(5));
  ASSERT_TRUE(traffic.first_byte.has_value());
  EXPECT_NEAR(absl::ToDoubleMilliseconds(*traffic.first_byte), 20, 0.1);
  EXPECT_NEAR(traffic.answers, 1200, 5);
}

// Messages that need no answer are work without a wait.
TEST(TrafficWindowTest, ServedWithoutAnswersHasNoWait) {
  TrafficWindow window;
  for (int second = 0; second < 6; ++second) window.Add(Report(1, 300), At(second));
  EXPECT_FALSE(window.Measure(kKey, At(5)).first_byte.has_value());
  EXPECT_EQ(window.Measure(kKey, At(5)).answers, 0);
}

TEST(TrafficWindowTest, InFlightIsTheMeanOverTheMeasurement) {
  TrafficWindow window;
  for (int second = 0; second < 6; ++second) {
    ProxyTraffic traffic = Report(1, 0);
    traffic.endpoints[0].load = second % 2 == 0 ? 10 : 20;
    window.Add(traffic, At(second));
  }
  EXPECT_NEAR(window.Measure(kKey, At(5)).in_flight, 15, 4);
}

TEST(TrafficWindowTest, NothingIsKnownBeforeAReportAndLongAfterTheLast) {
  TrafficWindow window;
  EXPECT_FALSE(window.known(At(0)));
  window.Add({.seconds = 1}, At(1));
  EXPECT_TRUE(window.known(At(5)));
  EXPECT_FALSE(window.known(At(5.1)));
}

}  // namespace
}  // namespace trunkline
