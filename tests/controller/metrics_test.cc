#include <gmock/gmock.h>

#include <cstddef>
#include <string>
#include <vector>

#include "common/observe/metrics_page.h"
#include "controller/controller_metrics.h"
#include "controller/core/service_spec.h"
#include "tests/controller/core/core_fixture.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public ServiceTest {
 protected:
  std::string Page() {
    MetricsPage page("trunkline-controller");
    page.Register(
        [this](MetricsWriter& writer) { CollectControllerMetrics(*loop_, *proxies_, writer); });
    return page.Render();
  }
};

TEST_F(MetricsTest, EndpointHasItsSeriesAndLosesThemWhenItLeaves) {
  TestAgent agent(channel_, "a");
  agent.Join(0.5);
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);
  const std::string labels = "{service=\"db\",endpoint=\"a\"}";
  std::string page = Page();
  EXPECT_THAT(page, HasSubstr("trunkline_controller_endpoint_weight" + labels + " 1"));
  EXPECT_THAT(page, HasSubstr("trunkline_controller_endpoint_utilization_ratio" + labels + " 0.5"));
  EXPECT_THAT(page, HasSubstr("trunkline_controller_endpoint_report_age_seconds" + labels));
  EXPECT_THAT(page, HasSubstr("endpoint=\"a\",state=\"fresh\"} 1"));
  EXPECT_THAT(page, HasSubstr("trunkline_controller_connected_agents 1"));
  EXPECT_THAT(page, HasSubstr("trunkline_controller_reports_total{result=\"accepted\"} 1"));
  agent.HalfClose();
  EXPECT_TRUE(agent.Status().ok());
  WaitUntilGone("a");
  page = Page();
  EXPECT_THAT(page, Not(HasSubstr("endpoint=\"a\"")));
  EXPECT_THAT(page, HasSubstr("trunkline_controller_service_endpoints{service=\"db\"} 0"));
}

TEST_F(MetricsTest, HugeFleetStaysBelowTwoThousandSeries) {
  StopController();
  std::vector<EndpointHintSpec> hints;
  for (int i = 0; i < 1000; ++i) hints.push_back({"e" + std::to_string(i), 1, "127.0.0.1:7073"});
  services_ = {Service("db", hints)};
  StartController();
  const std::string page = Page();
  size_t series = 0;
  for (size_t at = 0; (at = page.find('\n', at)) != std::string::npos; ++at) {
    if (at + 1 < page.size() && page[at + 1] != '#') ++series;
  }
  EXPECT_LT(series, 2000u);
  EXPECT_THAT(page, HasSubstr("trunkline_controller_endpoints_without_series 750"));
}

TEST_F(MetricsTest, EndpointThatReportsIsShownBeforeHundredsThatDoNot) {
  StopController();
  std::vector<EndpointHintSpec> hints;
  for (int i = 0; i < 300; ++i) hints.push_back({"e" + std::to_string(i), 1, "127.0.0.1:7073"});
  services_ = {Service("db", hints)};
  StartController();
  TestAgent agent(channel_, "zz");
  agent.Join(0.5);
  WaitForState("zz", v1::ENDPOINT_STATE_FRESH);
  EXPECT_THAT(Page(), HasSubstr("endpoint=\"zz\",state=\"fresh\"} 1"));
}

}  // namespace
}  // namespace trunkline
