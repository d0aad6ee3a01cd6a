#include "controller/wire/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/limits.h"
#include "common/config/names.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/snapshot_publisher.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

// The limit of a gRPC client that sets none.
constexpr size_t kDefaultGrpcLimit = 4 << 20;

std::string Longest(const std::string& text) {
  return text + std::string(kMaxNameLength - text.size(), 'x');
}

// Returns an endpoint whose values take the most bytes.
EndpointReason LargestEndpoint(const std::string& service, size_t index) {
  EndpointReason reason;
  RegisteredEndpoint& endpoint = reason.endpoint;
  endpoint.key = {service, Longest(absl::StrCat(1'000'000 + index))};
  endpoint.address = std::string(253, 'h') + ":65535";
  endpoint.agent_id = endpoint.agent_boot_id = Longest("agent");
  endpoint.cores = 0.3;
  endpoint.draining = true;
  endpoint.pin = 0.3;
  ReportedLoad& load = endpoint.load.emplace();
  load.cpu_source = Longest("cpu");
  load.cpu_utilization = load.bytes_per_second = load.successes_per_second = 0.3;
  load.errors_per_second = 0.3;
  load.memory_utilization = load.cpu_throttled = 0.3;
  load.connections = load.active_streams = UINT32_MAX;
  reason.weight = reason.share = reason.load.capacity = 0.3;
  reason.report_age = absl::Milliseconds(300);
  return reason;
}

TEST(ViewTest, PagesOfTheLargestEndpointsFitIntoTheirMessages) {
  ControllerView view;
  ServiceReason& service = view.services.emplace_back();
  service.spec.name = Longest("db");
  for (size_t i = 0; i < kMaxClusterEndpoints; ++i) {
    service.endpoints.push_back(LargestEndpoint(service.spec.name, i));
  }
  v1::ListEndpointsRequest request;
  std::set<std::string> listed;
  size_t items = 0;
  do {
    const auto page = WriteEndpoints(view, request);
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_GT(page->endpoints_size(), 0);
    EXPECT_LT(page->ByteSizeLong(), kDefaultGrpcLimit);
    for (const auto& item : page->endpoints()) listed.insert(item.weight().endpoint_id());
    items += static_cast<size_t>(page->endpoints_size());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(items, kMaxClusterEndpoints);
  EXPECT_EQ(listed.size(), kMaxClusterEndpoints);
}

// Returns a view of one endpoint.
ControllerView ViewOf(const EndpointReason& endpoint) {
  ControllerView view;
  view.snapshot = std::make_shared<ClusterSnapshot>();
  ServiceReason& service = view.services.emplace_back();
  service.spec.name = endpoint.endpoint.key.service;
  service.endpoints.push_back(endpoint);
  return view;
}

std::map<std::string, v1::Explanation::Term> TermsOf(const EndpointReason& endpoint) {
  std::map<std::string, v1::Explanation::Term> terms;
  const auto explanation = WriteExplanation(ViewOf(endpoint), endpoint.endpoint.key);
  EXPECT_TRUE(explanation.ok()) << explanation.status();
  for (const auto& term : explanation->terms()) terms[term.name()] = term;
  return terms;
}

TEST(ViewTest, LoadThatIsNotKnownIsUnsetAndNotZero) {
  EndpointReason endpoint;
  endpoint.endpoint.key = {"db", "a"};
  const auto item = [&] { return WriteEndpoints(ViewOf(endpoint), {})->endpoints(0); };
  EXPECT_FALSE(item().weight().has_active_streams()) << "it has not reported";
  EXPECT_FALSE(item().has_successes_per_second());
  EXPECT_FALSE(item().has_errors_per_second());
  EXPECT_FALSE(item().has_bytes_per_second());
  EXPECT_FALSE(item().has_reachable());
  EXPECT_FALSE(item().has_cores());

  ReportedLoad& load = endpoint.endpoint.load.emplace();
  load.cpu_known = false;
  endpoint.report_age = absl::Seconds(1);
  EXPECT_TRUE(item().weight().has_active_streams());
  EXPECT_TRUE(item().has_reachable());
  EXPECT_FALSE(item().weight().has_connections());
  EXPECT_FALSE(item().weight().has_memory_utilization());
  EXPECT_FALSE(item().weight().has_cpu_utilization());
  EXPECT_FALSE(item().weight().has_cpu_throttled());
  for (const char* name : {"cpu", "connections", "nic", "named", "u", "throttled"}) {
    ASSERT_TRUE(TermsOf(endpoint).contains(name)) << name;
    EXPECT_FALSE(TermsOf(endpoint)[name].has_value()) << name;
  }
  EXPECT_THAT(TermsOf(endpoint)["memory"].meaning(), ::testing::HasSubstr("now unknown"));

  load.cpu_known = true;
  load.connections = 0;
  load.named_metric = "queue";
  load.memory_utilization = load.connection_utilization = load.nic_utilization = 0;
  load.cpu_throttled = 0;
  EXPECT_TRUE(item().weight().has_connections());
  EXPECT_TRUE(item().weight().has_memory_utilization());
  EXPECT_TRUE(item().weight().has_cpu_throttled());
  for (const char* name : {"cpu", "connections", "nic", "named", "u", "throttled"}) {
    EXPECT_TRUE(TermsOf(endpoint)[name].has_value()) << name;
  }
  EXPECT_THAT(TermsOf(endpoint)["memory"].meaning(), ::testing::HasSubstr("now at 0.00"));
}

}  // namespace
}  // namespace trunkline
