#include "controller/wire/view.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/config/names.h"

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
  load.memory_utilization = 0.3;
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

}  // namespace
}  // namespace trunkline
