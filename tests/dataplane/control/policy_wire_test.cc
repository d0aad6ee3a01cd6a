// The policy of a service in a snapshot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/balancing_policy.h"
#include "common/config/balancing_policy_wire.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "dataplane/control/snapshot_wire.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/dataplane/control/held_snapshot.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

class PolicyWireTest : public ::testing::Test {
 protected:
  // Returns the service's set from a snapshot with `fields` of the service, or null if it is
  // refused.
  std::shared_ptr<const EndpointSet> Read(const std::string& fields) {
    const v1::Snapshot snapshot = Snapshot(absl::StrCat(R"(
        id { epoch: 1 version: 1 }
        services {
          name: "db" mode: FORWARDING_MODE_DIRECT listener { address: "0.0.0.0:5432" }
          endpoints { endpoint_id: "a" address: "10.0.0.1:5432" weight: 2 capacity: 1 }
          endpoints { endpoint_id: "b" address: "10.0.0.2:5432" weight: 1 capacity: 1 } )",
                                                        fields, "}"));
    const auto table = BuildRoutingTable(
        snapshot, table_.get(), [](const Address&) { return AddressList(); }, stats_, &refused_);
    if (!table.ok() || (*table)->services.empty()) {
      error_ = std::string(table.status().message());
      return nullptr;
    }
    table_ = *table;
    return table_->services.front();
  }

  TrafficStats stats_{1};
  std::shared_ptr<const RoutingTable> table_;
  std::vector<RefusedService> refused_;
  std::string error_;
};

TEST_F(PolicyWireTest, EachPolicyReachesTheTableAndBack) {
  const auto* const choices = v1::BalancingPolicy_descriptor();
  for (int i = 1; i < choices->value_count(); ++i) {
    const auto set = Read(absl::StrCat("policy: ", choices->value(i)->name()));
    ASSERT_NE(set, nullptr) << error_;
    EXPECT_EQ(WritePolicy(set->policy), choices->value(i)->number());
    EXPECT_EQ(set->by_client != nullptr, set->policy == BalancingPolicy::kMaglev);
  }
}

TEST_F(PolicyWireTest, ServiceWithoutAPolicyIsAdaptive) {
  EXPECT_EQ(Read("")->policy, BalancingPolicy::kAdaptive);
}

TEST_F(PolicyWireTest, UnknownPolicyIsRefusedWithItsNumber) {
  EXPECT_EQ(Read("policy: 77"), nullptr);
  EXPECT_THAT(error_, HasSubstr("service db: policy 77 is not known to this proxy"));
}

TEST_F(PolicyWireTest, NewPolicyForTheSameEndpointsIsAChange) {
  const auto before = Read("policy: BALANCING_POLICY_RANDOM");
  EXPECT_EQ(Read("policy: BALANCING_POLICY_RANDOM"), before);
  const auto after = Read("policy: BALANCING_POLICY_MAGLEV");
  EXPECT_NE(after, before);
  EXPECT_TRUE(SameLayout(*before, *after)) << "connections stay";
}

}  // namespace
}  // namespace trunkline
