// What one worker does about endpoints that refuse: leave them alone, take them back, and never try
// without end. A router on the test's own loop, with real pools and real agents behind it.
#include <gtest/gtest.h>

#include "dataplane/route/service_router.h"
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

  // A client's whole life: reset if nobody takes it, else until it is connected and leaves.
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

TEST_F(RouterTest, EndpointThatRefusesFiveTimesInARowIsLeftAloneForAWhile) {
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
    Peer client = AddClient();  // picks at once
    EXPECT_TRUE(!ejected || cell(bad).flows.Value() == before);
    ASSERT_TRUE(RunUntil([&] { return Connected() > connected; }));
    client.Reset();
    ASSERT_TRUE(RunUntil([&] { return flows_.empty(); }));
  }
  ASSERT_TRUE(RunUntil([&] { return cell(bad).ejected.Value() == 0; })) << "it comes back";
  const uint64_t before = cell(bad).flows.Value();
  for (int i = 0; i < 100 && cell(bad).flows.Value() == before; ++i) RunOneClient();
  EXPECT_GT(cell(bad).flows.Value(), before) << "and is tried again";
}

TEST_F(RouterTest, OneGoodConnectForgivesTheRefusalsBefore) {
  test::ScratchFolder folder;
  const std::string path = folder.File("s");
  const size_t only = AddAgent(Address{.unix_path = path});
  Start();
  for (int round = 0; round < 3; ++round) {
    RunOneClient();  // three tries, all here
    auto local = std::make_unique<LocalServer>(Address{.unix_path = path});
    RunOneClient();
    local.reset();
  }
  EXPECT_EQ(cell(only).ejected.Value(), 0);
  EXPECT_EQ(cell(only).connect_refused.Value(), 9u);
}

TEST_F(RouterTest, OnlyEndpointIsUsedThoughItIsEjected) {
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

TEST_F(RouterTest, SecondTryPrefersAnEndpointThatIsNotEjected) {
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

// 100 tries at once and one more for every fifth client; each client here would like two.
TEST_F(RouterTest, TriesAreLimitedByABudget) {
  AddAgent(RefusingAddress());
  AddAgent(RefusingAddress());
  Start();
  constexpr int kClients = 500;
  for (int i = 0; i < kClients; ++i) RunOneClient();
  EXPECT_LE(stats().retries.Value(), 100u + kClients / 5);
  EXPECT_GE(stats().retries.Value(), 90u + kClients / 5);
  EXPECT_EQ(stats().connect_refused.Value(), static_cast<uint64_t>(kClients));
}

TEST_F(RouterTest, NewFlowsGoWhereFewerAreOpen) {
  LocalServer first;
  LocalServer second;
  AddAgent(first.address());
  AddAgent(second.address());
  Start();
  std::vector<Peer> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(AddClient());
  // Random choice alone would differ by more than 6 four times in ten.
  EXPECT_NEAR(static_cast<double>(cell(0).active.Value()), 50, 3);
  ASSERT_TRUE(RunUntil([&] { return Connected() == 100; }));
}

}  // namespace
}  // namespace trunkline
