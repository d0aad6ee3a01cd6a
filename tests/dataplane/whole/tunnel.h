// A whole tunnel in one process: a proxy's data plane, agents with real trunk ports, and the test
// as the servers. Everything listens on loopback, port 0. Waits are for events, with a deadline.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/trunk/trunk_server.h"
#include "dataplane/data_plane.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline::test {

class Tunnel {
 public:
  struct Options {
    size_t workers = 1;
    size_t max_clients = 1000;
    DescriptorPlan descriptors;
    FlowLimits limits;
    // The proxy's memory measurement. Null disables the budget.
    std::function<MemoryReading(const TrafficStats&)> memory;
    TrunkPool::Options trunks;
    uint32_t agent_max_streams = 1000;
    // The PROXY protocol version that agents send, regardless of the service's.
    ProxyVersion agent_proxy_protocol = ProxyVersion::kNone;
    std::shared_ptr<ConnectionLog> connection_log = {};
    // Changes the service in each table.
    std::function<void(EndpointSet&)> adapt = [](EndpointSet&) {};
  };

  static constexpr char kService[] = "db";

  explicit Tunnel(Options options);
  Tunnel() : Tunnel(Options()) {}
  ~Tunnel();

  // Adds an endpoint whose agent hands streams to `target`. It is in the table after the next
  // Apply.
  size_t AddAgent(const Address& target, double weight = 1);
  // Adds an endpoint at an address where the test itself accepts trunks.
  size_t AddEndpoint(const Address& trunk_address, double weight = 1);
  void SetWeight(size_t endpoint, double weight) { endpoints_[endpoint].weight = weight; }
  void Remove(size_t endpoint) { endpoints_[endpoint].present = false; }
  void Restore(size_t endpoint) { endpoints_[endpoint].present = true; }
  TrunkServer& agent(size_t endpoint) { return *endpoints_[endpoint].agent; }
  TrafficTable& traffic(size_t endpoint) { return *endpoints_[endpoint].traffic; }
  const Address& trunk_address(size_t endpoint) const { return endpoints_[endpoint].trunk_address; }
  // Ends the agent as if its process had been killed. Its port stays reserved.
  void Kill(size_t endpoint) {
    HoldPort(endpoints_[endpoint].trunk_address.port);
    endpoints_[endpoint].agent.reset();
  }

  void Apply();
  // Applies the table and waits until every agent has a trunk from every worker.
  void Start();

  Peer Connect(int receive_buffer = 0) const { return ConnectPeer(listening(), receive_buffer); }
  Address listening() const;
  // For clients that arrive from now on, the kernel buffers about this many bytes, so that bytes
  // that they do not read stay in the proxy.
  void LimitSendBuffers(int bytes) const;

  const EndpointCell& cell(size_t endpoint) const { return endpoints_[endpoint].stats->cells()[0]; }
  const WorkerStats& worker(size_t i = 0) { return stats_.worker(i); }
  const ListenerCell& listener() { return stats_.Listener(kService)->cell(0); }
  const SourceTable& sources() { return *stats_.Listener(kService)->sources; }
  int64_t clients() const { return stats_.Clients(); }
  DataPlane& data_plane() { return *data_plane_; }

 private:
  struct TestEndpoint {
    double weight = 1;
    bool present = true;
    Address trunk_address;
    std::shared_ptr<EndpointStats> stats;
    // The table outlives the agent.
    std::unique_ptr<TrafficTable> traffic;
    std::unique_ptr<TrunkServer> agent;
  };

  const Options options_;
  TrafficStats stats_;
  std::vector<TestEndpoint> endpoints_;
  uint64_t version_ = 0;
  std::unique_ptr<DataPlane> data_plane_;
};

}  // namespace trunkline::test
