#include "common/observe/metrics_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "common/base/metrics.h"
#include "common/base/version.h"
#include "tests/common/base/child_process.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

LatencyHistogram::Values ThreeLatencies() {
  LatencyHistogram histogram;
  histogram.Record(900);             // <= 1 us
  histogram.Record(3'000'000);       // <= 4.096 ms
  histogram.Record(60'000'000'000);  // beyond the last bound
  return histogram.Read();
}

std::string FullPage() {
  MetricsPage page("trunkline-test");
  page.Register([](MetricsWriter& writer) {
    writer.AddCounter("flows_total", "Flows.", {{"service", "a\"b\\c\nd"}}, 3);
    writer.AddCounter("flows_total", "Flows.", {{"service", "other"}}, 4);
    writer.AddGauge("weight", "Weight.", {}, 0.25);
    writer.AddHistogram("pick_seconds", "Picks.", {{"service", "x"}}, ThreeLatencies());
  });
  return page.Render();
}

TEST(MetricsPageTest, BuildInfoAndProcessMetricsAreAlwaysPresent) {
  const std::string page = MetricsPage("trunkline-test").Render();
  EXPECT_THAT(page,
              HasSubstr(std::string("trunkline_build_info{program=\"trunkline-test\",version=\"") +
                        kVersion + "\"} 1\n"));
  EXPECT_THAT(page, ContainsRegex("trunkline_process_cpu_seconds_total [0-9]"));
  EXPECT_THAT(page, ContainsRegex("trunkline_process_resident_memory_bytes [1-9]"));
  EXPECT_THAT(page, ContainsRegex("trunkline_process_open_fds [1-9]"));
  EXPECT_THAT(page, ContainsRegex("trunkline_process_max_fds [1-9]"));
  EXPECT_THAT(page, ContainsRegex("trunkline_process_start_time_seconds 1[0-9.e+]+"));
}

TEST(MetricsPageTest, FamilyOfSeveralSamplesHasOneHeader) {
  const std::string page = FullPage();
  const size_t head = page.find("# TYPE trunkline_flows_total counter\n");
  ASSERT_NE(head, std::string::npos);
  EXPECT_EQ(page.find("# TYPE trunkline_flows_total", head + 1), std::string::npos);
  EXPECT_THAT(page, HasSubstr("trunkline_flows_total{service=\"a\\\"b\\\\c\\nd\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_flows_total{service=\"other\"} 4\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_weight 0.25\n"));
}

TEST(MetricsPageTest, HistogramIsCumulativeUpToInfinity) {
  const std::string page = FullPage();
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_bucket{service=\"x\",le=\"1e-06\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_bucket{service=\"x\",le=\"0.002048\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_bucket{service=\"x\",le=\"0.004096\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_bucket{service=\"x\",le=\"16.777216\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_bucket{service=\"x\",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("trunkline_pick_seconds_count{service=\"x\"} 3\n"));
  EXPECT_THAT(page, ContainsRegex("trunkline_pick_seconds_sum.service=\"x\". 60\\.003"));
}

TEST(MetricsPageTest, CollectorsRunAtEachScrape) {
  MetricsPage page("trunkline-test");
  int scrapes = 0;
  page.Register(
      [&](MetricsWriter& writer) { writer.AddGauge("scrapes", "Scrapes.", {}, ++scrapes); });
  EXPECT_THAT(page.Render(), HasSubstr("trunkline_scrapes 1\n"));
  EXPECT_THAT(page.Render(), HasSubstr("trunkline_scrapes 2\n"));
}

TEST(MetricsPageTest, PromtoolAcceptsThePage) {
  if (system("command -v promtool >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "promtool is not installed";
  test::ScratchFolder folder;
  const std::string path = folder.Write("page", FullPage());
  test::ChildProcess promtool({"/bin/sh", "-c", "promtool check metrics < " + path});
  const auto [exit_code, output] = promtool.Finish();
  EXPECT_EQ(output, "");
  EXPECT_EQ(exit_code, 0);
}

}  // namespace
}  // namespace trunkline
