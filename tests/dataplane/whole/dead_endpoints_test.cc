// Endpoints that nothing listens at: each costs one connect, whatever the number of clients and
// workers, and the proxy finds out by itself when one is back.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::LocalServer;
using test::Peer;
using test::RefusingAddress;

constexpr size_t kWorkers = 2;

class DeadEndpointsTest : public test::ExchangeTest,
                          public testing::WithParamInterface<ForwardingMode> {
 protected:
  void StartWith(const std::vector<Address>& servers) {
    ExchangeTest::StartWith(servers, {.workers = kWorkers, .mode = GetParam()});
  }

  // One client asks and gets its reply from one of `servers`. Returns false if it does not.
  [[nodiscard]] bool ServeOneClient(const std::vector<LocalServer*>& servers) {
    Peer client = Connect();
    EXPECT_TRUE(client.Send("ask\n"));
    const bool answered = Eventually([&] {
      for (const LocalServer* server : servers) {
        if (server->Knocked(0)) connections_.push_back(server->Accept());
      }
      for (Peer& connection : connections_) {
        if (!test::WaitFor(connection.fd(), POLLIN, 0)) continue;
        if (connection.Read(4) != "ask\n") continue;
        EXPECT_TRUE(connection.Send("say\n"));
      }
      return test::WaitFor(client.fd(), POLLIN, 0);
    });
    return answered && client.Read(4) == "say\n";
  }

  uint64_t Flows(size_t endpoint) {
    uint64_t sum = 0;
    for (size_t w = 0; w < kWorkers; ++w) sum += exchange_->cell(endpoint, w).flows.Value();
    return sum;
  }
  int64_t Ejected(size_t endpoint) {
    int64_t sum = 0;
    for (size_t w = 0; w < kWorkers; ++w) sum += exchange_->cell(endpoint, w).ejected.Value();
    return sum;
  }

  std::vector<Peer> connections_;  // of the servers
};

TEST_P(DeadEndpointsTest, NoClientFailsAndEachEndpointIsTriedByOneClient) {
  constexpr size_t kDead = 120;
  std::vector<Address> servers;
  for (size_t i = 0; i < kDead; ++i) servers.push_back(RefusingAddress());
  servers.push_back(local_.address());
  StartWith(servers);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(ServeOneClient({&local_})) << i;
  for (size_t i = 0; i < kDead; ++i) EXPECT_LE(Flows(i), 1u) << i;
  EXPECT_EQ(Flows(kDead), 40u);
}

TEST_P(DeadEndpointsTest, EndpointThatIsBackGetsClientsAgainInEveryWorker) {
  test::ScratchFolder folder;
  const Address dead{.unix_path = folder.File("s")};
  StartWith({dead, local_.address()});
  exchange_->SetWeight(0, 1000);
  exchange_->SetWeight(1, 1);
  exchange_->Apply();
  while (Ejected(0) < static_cast<int64_t>(kWorkers)) ASSERT_TRUE(ServeOneClient({&local_}));
  EXPECT_EQ(Flows(0), 1u) << "the second worker learned it from the first";
  LocalServer back(dead);
  ASSERT_TRUE(Eventually([&] { return Ejected(0) == 0; })) << "probes find the server";
  const uint64_t before = Flows(0);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(ServeOneClient({&local_, &back}));
  EXPECT_GE(Flows(0), before + 15);
}

INSTANTIATE_TEST_SUITE_P(Modes, DeadEndpointsTest,
                         testing::Values(ForwardingMode::kDirect, ForwardingMode::kMessage),
                         [](const auto& info) {
                           return info.param == ForwardingMode::kDirect ? "Direct" : "Message";
                         });

}  // namespace
}  // namespace trunkline
