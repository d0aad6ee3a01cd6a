#include "dataplane/table/endpoint_set.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dataplane/table/health_check.h"
#include "dataplane/table/message_service.h"

namespace trunkline {
namespace {

EndpointSet SetWith(uint32_t max_connections, bool checked) {
  auto message = std::make_shared<MessageService>();
  message->max_connections = max_connections;
  EndpointSet set;
  set.service = "db";
  set.message = message;
  if (checked) set.health_check = std::make_shared<HealthCheck>();
  return set;
}

// Returns the connections of all workers to one endpoint. Expects that workers without any name one
// that has some.
uint32_t Total(const EndpointSet& set, size_t workers) {
  uint32_t sum = 0;
  for (size_t i = 0; i < workers; ++i) {
    const ConnectionShare share = ShareOf(set, i, workers);
    EXPECT_TRUE(share.limited);
    EXPECT_GT(ShareOf(set, share.taker, workers).connections, 0u);
    sum += share.connections;
  }
  return sum;
}

TEST(EndpointSetTest, WorkersShareAllConnections) {
  EXPECT_EQ(Total(SetWith(100, false), 8), 100u);
  EXPECT_EQ(Total(SetWith(1, false), 8), 1u);
}

TEST(EndpointSetTest, HealthCheckHasAConnectionForItself) {
  EXPECT_EQ(Total(SetWith(100, true), 8), 99u);
  EXPECT_EQ(Total(SetWith(2, true), 8), 1u);
}

TEST(EndpointSetTest, UnlimitedConnectionsAreNotShared) {
  EXPECT_FALSE(ShareOf(SetWith(0, true), 0, 8).limited);
}

}  // namespace
}  // namespace trunkline
