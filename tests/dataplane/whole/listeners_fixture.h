// A proxy whose services move between addresses.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/data_plane.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline::test {

inline constexpr char kAll[] = "0.0.0.0";
inline constexpr char kOne[] = "127.0.0.1";
inline constexpr char kOther[] = "127.0.0.2";

// A proxy in direct mode whose services all have the same server.
class ListenersTest : public ::testing::Test {
 protected:
  static constexpr size_t kWorkers = 2;
  using Listens = std::map<std::string, Address>;  // by service
  using ListenLists = std::map<std::string, std::vector<Address>>;

  explicit ListenersTest(size_t max_clients = 1000)
      : plane_({.workers = kWorkers, .max_clients = max_clients, .random_seed = 1}, stats_) {}

  std::shared_ptr<const RoutingTable> TableOfLists(const ListenLists& lists,
                                                   TrafficStats& stats) const {
    auto table = std::make_shared<RoutingTable>();
    for (const auto& [service, addresses] : lists) {
      auto set = std::make_shared<EndpointSet>();
      set->service = service;
      set->listen = addresses;
      set->mode = ForwardingMode::kDirect;
      set->forwarding_key = forwarding_key_;
      set->stats = stats.Listener(service);
      Endpoint endpoint;
      endpoint.id = "e";
      endpoint.address = server_.address().ToString();
      endpoint.addresses = KnownAddresses(server_.address());
      endpoint.weight = 1;
      endpoint.stats = stats.Endpoint(service, "e");
      set->endpoints.push_back(std::move(endpoint));
      table->services.push_back(std::move(set));
    }
    return table;
  }
  static ListenLists ListsOf(const Listens& listens) {
    ListenLists lists;
    for (const auto& [service, address] : listens) lists[service] = {address};
    return lists;
  }
  std::shared_ptr<const RoutingTable> Table(const Listens& listens, TrafficStats& stats) const {
    return TableOfLists(ListsOf(listens), stats);
  }
  // Returns when every worker listens as told: workers take a second table only after that.
  void ApplyLists(const ListenLists& lists) {
    plane_.Apply(TableOfLists(lists, stats_));
    auto second = TableOfLists(lists, stats_);
    const std::weak_ptr<const RoutingTable> posted = second;
    plane_.Apply(second);
    second.reset();
    EXPECT_TRUE(Eventually([&] { return posted.expired(); })) << "a worker does not take the table";
  }
  void Apply(const Listens& listens) { ApplyLists(ListsOf(listens)); }

  // The only address on which the service listens.
  Address BoundTo(const std::string& service) const {
    const std::vector<std::string> bound = plane_.Listening().at(service);
    EXPECT_EQ(bound.size(), 1u);
    return ParseAddress(bound.front()).value();
  }
  // Starts the service on a port that was free, and returns the address.
  Address StartOn(const std::string& service, const std::string& host) {
    Apply({{service, {.host = host, .port = 0}}});
    const Address address = BoundTo(service);
    Apply({{service, address}});
    EXPECT_EQ(plane_.MissingListeners(), "");
    return address;
  }

  uint64_t Accepted(const std::string& service) {
    uint64_t sum = 0;
    for (const ListenerCell& cell : stats_.Listener(service)->cells()) sum += cell.accepted.Value();
    return sum;
  }
  Peer Serve(Peer client) { return Answered(std::move(client)).first; }
  // Returns the client and its server's end, after an exchange.
  std::pair<Peer, Peer> Answered(Peer client) {
    EXPECT_TRUE(client.Send("ask"));
    // Skips connections of clients that only tested whether the address accepts.
    Peer server = server_.Accept();
    while (server && server.Read(3) != "ask") server = server_.Accept();
    ExpectExchange(client, server, "more", "answer");
    return {std::move(client), std::move(server)};
  }
  // Expects that clients of `address` reach the server through `service`.
  void ExpectServed(const std::string& service, const Address& address) {
    auto stats = stats_.Listener(service);
    const uint64_t before = Accepted(service);
    Serve(ConnectPeer(address));
    EXPECT_EQ(Accepted(service), before + 1) << service << " on " << address.ToString();
  }
  static bool Refuses(const Address& address) { return !ConnectPeer(address); }
  void ExpectClosed(const Address& address) {
    EXPECT_TRUE(Eventually([&] { return Refuses(address); })) << address.ToString();
  }

  LocalServer server_;
  TrafficStats stats_{kWorkers};
  DataPlane plane_;
  std::string forwarding_key_;  // of the next table
};

}  // namespace trunkline::test
