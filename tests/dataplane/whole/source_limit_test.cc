// Limits the clients of one source address at a listener.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/net/ip_port.h"
#include "dataplane/limits/source_table.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::HeaderFrom;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

SourceTable::Key KeyOf(const std::string& address) {
  return SourceTable::KeyOf(ParseIpPort(address).value());
}

TEST(SourceTableTest, PortDoesNotDistinguishSources) {
  EXPECT_EQ(KeyOf("192.0.2.1:1"), KeyOf("192.0.2.1:2"));
  EXPECT_NE(KeyOf("192.0.2.1:1"), KeyOf("192.0.2.2:1"));
}

TEST(SourceTableTest, Ipv6SourceIsItsSlash64) {
  EXPECT_EQ(KeyOf("[2001:db8:1:2::1]:1"), KeyOf("[2001:db8:1:2:ffff::9]:1"));
  EXPECT_NE(KeyOf("[2001:db8:1:2::1]:1"), KeyOf("[2001:db8:1:3::1]:1"));
}

TEST(SourceTableTest, MappedIpv4AddressIsTheSameSource) {
  EXPECT_EQ(KeyOf("[::ffff:192.0.2.1]:1"), KeyOf("192.0.2.1:1"));
  EXPECT_NE(KeyOf("[::ffff:192.0.2.1]:1"), KeyOf("[::ffff:192.0.2.2]:1"));
}

TEST(SourceTableTest, FamiliesAreDistinctSources) {
  // 192.0.2.1 is c000:201.
  EXPECT_NE(KeyOf("192.0.2.1:1"), KeyOf("[c000:201::]:1"));
}

TEST(SourceTableTest, LeaseGivesItsPlaceBack) {
  auto table = std::make_shared<SourceTable>();
  const IpPort source = ParseIpPort("192.0.2.1:1").value();
  SourceLease first(table, source, 2);
  SourceLease second(table, source, 2);
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(SourceLease(table, source, 2));
  SourceLease moved = std::move(first);
  EXPECT_FALSE(SourceLease(table, source, 2)) << "moving a lease moved its place";
  moved = SourceLease();
  EXPECT_TRUE(SourceLease(table, source, 2));
  second = SourceLease();
  EXPECT_EQ(table->size(), 0u);
}

TEST(SourceTableTest, LimitHoldsAcrossThreads) {
  constexpr int kThreads = 4;
  constexpr uint32_t kLimit = 2;
  auto table = std::make_shared<SourceTable>();
  std::atomic<uint32_t> inside = 0;
  std::atomic<uint32_t> most = 0;
  std::atomic<uint64_t> admitted = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20'000; ++round) {
        const SourceLease lease(table, ParseIpPort("192.0.2.1:1").value(), kLimit);
        if (!lease) continue;
        const uint32_t now = ++inside;
        uint32_t seen = most.load();
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        ++admitted;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most.load(), kLimit);
  EXPECT_GT(admitted.load(), 0u);
  EXPECT_EQ(table->size(), 0u);
}

class SourceLimitTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  static Tunnel::Options Limited(uint32_t limit, bool accept, size_t workers = 1) {
    return InMode(GetParam(),
                  test::Introduced(
                      accept, {.workers = workers, .limits = {.max_clients_per_source = limit}}));
  }
  void Serve(Tunnel& tunnel) { test::Serve(tunnel, GetParam(), server_); }

  LocalServer server_;
};

uint64_t Refused(Tunnel& tunnel, size_t workers = 1) {
  uint64_t sum = 0;
  for (size_t i = 0; i < workers; ++i) sum += tunnel.worker(i).source_limited.Value();
  return sum;
}

TEST_P(SourceLimitTest, ClientAboveTheLimitIsResetUntilAnotherLeaves) {
  Tunnel tunnel(Limited(2, /*accept=*/false));
  Serve(tunnel);
  Peer first = tunnel.Connect();
  Peer second = tunnel.Connect();
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 2; }));
  Peer third = tunnel.Connect();
  third.ReadToEnd();
  EXPECT_EQ(third.ending(), Ending::kReset);
  EXPECT_TRUE(Eventually([&] { return Refused(tunnel) == 1; }));
  EXPECT_EQ(tunnel.clients(), 2);
  first.Reset();
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 1; }));
  Peer fourth = tunnel.Connect();
  ASSERT_TRUE(Eventually([&] { return tunnel.clients() == 2; }));
  second.Reset();
  fourth.Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel.sources().size() == 0; }));
  EXPECT_EQ(Refused(tunnel), 1u);
}

TEST_P(SourceLimitTest, SourceIsTheAddressInTheHeader) {
  Tunnel tunnel(Limited(1, /*accept=*/true));
  Serve(tunnel);
  std::vector<Peer> clients;
  const auto connect = [&](const std::string& source) -> Peer& {
    clients.push_back(tunnel.Connect());
    EXPECT_TRUE(clients.back().Send(HeaderFrom(source)));
    return clients.back();
  };
  connect("192.0.2.1:1");
  connect("192.0.2.2:1");
  connect("[2001:db8:1:1::1]:1");
  connect("[2001:db8:1:2::1]:1");
  ASSERT_TRUE(Eventually([&] { return tunnel.sources().size() == 4; }));
  for (const std::string source : {"192.0.2.1:2", "[2001:db8:1:1::2]:1"}) {
    Peer& client = connect(source);
    client.ReadToEnd();
    EXPECT_EQ(client.ending(), Ending::kReset) << source;
  }
  EXPECT_TRUE(Eventually([&] { return Refused(tunnel) == 2; }));
  EXPECT_EQ(tunnel.clients(), 4);
  for (Peer& client : clients) client.Reset();
  EXPECT_TRUE(Eventually([&] { return tunnel.sources().size() == 0; }));
}

TEST_P(SourceLimitTest, LimitIsExactOverAllWorkers) {
  constexpr size_t kWorkers = 3;
  constexpr int kLimit = 10;
  Tunnel tunnel(Limited(kLimit, /*accept=*/false, kWorkers));
  Serve(tunnel);
  // The clients are not spread evenly: one worker would reach a third of the limit before all are
  // in.
  std::vector<Peer> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(tunnel.Connect());
  EXPECT_TRUE(Eventually([&] { return Refused(tunnel, kWorkers) == clients.size() - kLimit; }));
  EXPECT_EQ(tunnel.clients(), kLimit);
}

TEST_P(SourceLimitTest, WithoutALimitSourcesAreNotCounted) {
  Tunnel tunnel(Limited(0, /*accept=*/true));
  Serve(tunnel);
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send(HeaderFrom("192.0.2.1:1") + "hello\n"));
  Peer server = server_.Accept();
  EXPECT_EQ(server.Read(6), "hello\n");
  EXPECT_EQ(tunnel.sources().size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, SourceLimitTest, ::testing::ValuesIn(test::kAllModes),
                         test::kNameOfMode);

}  // namespace
}  // namespace trunkline
