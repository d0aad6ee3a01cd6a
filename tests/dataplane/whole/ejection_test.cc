// One worker with endpoints that refuse connects: it ejects them, readmits them and bounds its
// retries. A router on the test's own loop, with real pools and real agents.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "dataplane/route/outlier_ejection.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/router_fixture.h"

namespace trunkline {
namespace {

using test::LocalServer;
using test::Peer;
using test::RefusingAddress;

class RouterTest : public test::RouterFixture {
 protected:
  void Start(absl::Duration ejection_base = OutlierEjection::kBase) {
    RouterFixture::Start(ForwardingMode::kTunnel, nullptr, ejection_base);
  }

  // Runs one client until it is connected and leaves, or is reset because no endpoint takes it.
  void RunOneClient() {
    const uint64_t connected = Connected();
    Peer client = AddClient();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty() || Connected() > connected; }));
    if (!flows_.empty()) client.Reset();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  }
  uint64_t Connected() {
    uint64_t sum = 0;
    for (size_t i = 0; i < agents(); ++i) sum += cell(i).connects.Value();
    return sum;
  }
};

TEST_F(RouterTest, EndpointThatRefusesFiveTimesInARowIsEjectedAndReadmitted) {
  LocalServer local;
  const size_t bad = AddAgent(RefusingAddress());
  AddAgent(local.address());
  Start(absl::Milliseconds(300));
  while (cell(bad).ejected.Value() == 0) {
    ASSERT_LE(cell(bad).connect_refused.Value(), 5u);
    RunOneClient();
  }
  EXPECT_EQ(cell(bad).connect_refused.Value(), 5u);
  for (int i = 0; i < 30; ++i) {
    const uint64_t before = cell(bad).flows.Value();
    const bool ejected = cell(bad).ejected.Value() == 1;
    const uint64_t connected = Connected();
    Peer client = AddClient();  // is assigned at once
    EXPECT_TRUE(!ejected || cell(bad).flows.Value() == before);
    ASSERT_TRUE(RunUntil([&] { return Connected() > connected; }));
    client.Reset();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  }
  ASSERT_TRUE(RunUntil([&] { return cell(bad).ejected.Value() == 0; })) << "the ejection ends";
  const uint64_t before = cell(bad).flows.Value();
  for (int i = 0; i < 100 && cell(bad).flows.Value() == before; ++i) RunOneClient();
  EXPECT_GT(cell(bad).flows.Value(), before) << "the endpoint gets flows again";
}

TEST_F(RouterTest, SuccessfulConnectResetsTheCountOfRefusals) {
  test::ScratchFolder folder;
  const std::string path = folder.File("s");
  const size_t only = AddAgent(Address{.unix_path = path});
  Start();
  for (int round = 0; round < 3; ++round) {
    RunOneClient();  // three tries, all at this endpoint
    auto local = std::make_unique<LocalServer>(Address{.unix_path = path});
    RunOneClient();
    local.reset();
  }
  EXPECT_EQ(cell(only).ejected.Value(), 0);
  EXPECT_EQ(cell(only).connect_refused.Value(), 9u);
}

TEST_F(RouterTest, OnlyEndpointIsUsedAlthoughItIsEjected) {
  test::ScratchFolder folder;
  const std::string path = folder.File("s");
  const size_t only = AddAgent(Address{.unix_path = path});
  Start(absl::Hours(1));
  while (cell(only).ejected.Value() == 0) RunOneClient();
  LocalServer local(Address{.unix_path = path});
  Peer client = AddClient();
  ASSERT_TRUE(client.Send("x"));
  ASSERT_TRUE(RunUntil([&] { return local.Knocked(0); }))
      << "a doubtful server is better than none";
  EXPECT_EQ(cell(only).ejected.Value(), 1);
}

TEST_F(RouterTest, RetryPrefersAnEndpointThatIsNotEjected) {
  LocalServer local;
  const size_t dead = AddAgent(RefusingAddress(), 1);
  const size_t refusing = AddAgent(RefusingAddress(), 1);
  const size_t good = AddAgent(local.address(), 0.001);
  Start(absl::Hours(1));
  while (cell(dead).ejected.Value() + cell(refusing).ejected.Value() == 0) RunOneClient();
  const size_t ejected = cell(dead).ejected.Value() == 1 ? dead : refusing;
  const uint64_t before = cell(ejected).flows.Value();
  for (int i = 0; i < 3; ++i) RunOneClient();
  EXPECT_EQ(cell(ejected).flows.Value(), before);
  EXPECT_GT(cell(good).flows.Value(), 0u);
}

// Allows a burst of 100 retries and one more for every fifth client; each client here would use
// two.
TEST_F(RouterTest, RetriesAreLimitedByTheBudget) {
  AddAgent(RefusingAddress());
  AddAgent(RefusingAddress());
  Start();
  constexpr int kClients = 500;
  for (int i = 0; i < kClients; ++i) RunOneClient();
  EXPECT_LE(stats().retries.Value(), 100u + kClients / 5);
  EXPECT_GE(stats().retries.Value(), 90u + kClients / 5);
  EXPECT_EQ(stats().connect_refused.Value(), static_cast<uint64_t>(kClients));
}

TEST_F(RouterTest, NewFlowsGoToTheEndpointWithFewerOpenFlows) {
  LocalServer first;
  LocalServer second;
  AddAgent(first.address());
  AddAgent(second.address());
  Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(AddClient());
  // By random choice alone, the difference would exceed 6 in four of ten runs.
  EXPECT_NEAR(static_cast<double>(cell(0).active.Value()), 50, 3);
  ASSERT_TRUE(RunUntil([&] { return Connected() == 100; }));
}

}  // namespace
}  // namespace trunkline
