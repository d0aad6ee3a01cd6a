// A proxy's data plane in `message` or `direct` mode, and servers that a test plays itself, in one
// process. Everything listens on loopback, port 0. Waits are for events, with a deadline.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/data_plane.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline::test {

// Messages end with a line feed.
std::shared_ptr<const Codec> Lines();
// Two bytes of length, then so many bytes; FramesWithId: two bytes of id before both.
std::shared_ptr<const Codec> Frames(size_t max_bytes = 64 * 1024);
std::shared_ptr<const Codec> FramesWithId(size_t max_bytes = 64 * 1024);
std::shared_ptr<const Codec> Modbus();
std::shared_ptr<const Codec> Redis(size_t max_request_bytes = 64 * 1024);
std::shared_ptr<const Codec> Http(size_t max_request_bytes = 64 * 1024);

// What FramesWithId reads.
std::string FrameWithId(uint16_t id, const std::string& content);
// A Modbus message of a unit and what follows it.
std::string ModbusMessage(uint16_t id, const std::string& content);
// The id in the first two bytes of a message of either.
uint16_t IdOf(const std::string& message);

class Exchange {
 public:
  struct Options {
    size_t workers = 1;
    ForwardingMode mode = ForwardingMode::kMessage;
    // Of message mode.
    std::shared_ptr<const Codec> codec = Lines();
    size_t shared_connections = 1;
    uint32_t max_connections = 0;
    size_t max_in_flight = 256;
    bool idempotent = false;
    absl::Duration reply_timeout = absl::Seconds(30);
    absl::Duration shared_idle_timeout = absl::Seconds(30);
    FlowLimits limits = {.connect_timeout = absl::Seconds(20)};
  };

  static constexpr char kService[] = "db";

  explicit Exchange(Options options);
  Exchange() : Exchange(Options()) {}

  // An endpoint. In the table from the next Apply on.
  size_t AddServer(const Address& address, double weight = 1);
  void SetWeight(size_t endpoint, double weight) { endpoints_[endpoint].weight = weight; }
  void Remove(size_t endpoint) { endpoints_[endpoint].present = false; }
  void Restore(size_t endpoint) { endpoints_[endpoint].present = true; }
  // How the service travels from the next Apply on.
  void Change(Options options);
  // As a service that has left the configuration.
  void ApplyWithoutService();
  // Returns when every worker has the table.
  void Apply();

  Peer Connect(int receive_buffer = 0) const { return ConnectPeer(listening(), receive_buffer); }
  Address listening() const;

  const EndpointCell& cell(size_t endpoint, size_t worker = 0) const {
    return endpoints_[endpoint].stats->cells()[worker];
  }
  uint32_t connections(size_t endpoint) const;
  const WorkerStats& worker(size_t i = 0) { return stats_.worker(i); }
  const ListenerCell& listener() { return stats_.Listener(kService)->cell(0); }
  int64_t clients() const { return stats_.Clients(); }
  DataPlane& data_plane() { return *data_plane_; }
  // As a proxy that ends.
  void Stop() { data_plane_.reset(); }

 private:
  struct TestEndpoint {
    double weight = 1;
    bool present = true;
    Address address;
    std::shared_ptr<EndpointStats> stats;
  };
  std::shared_ptr<EndpointSet> MakeSet() const;
  void Apply(std::shared_ptr<RoutingTable> table);

  Options options_;
  TrafficStats stats_;
  std::shared_ptr<ListenerStats> listener_stats_;
  std::vector<TestEndpoint> endpoints_;
  uint64_t version_ = 0;
  int way_ = 0;  // changes with every Change
  std::unique_ptr<DataPlane> data_plane_;
};

// Plays with a server of the test's own, and others where it takes more than one.
class ExchangeTest : public ::testing::Test {
 protected:
  void Start(Exchange::Options options = {});
  void StartWith(const std::vector<Address>& servers, Exchange::Options options = {});

  Peer Connect(int receive_buffer = 0) { return exchange_->Connect(receive_buffer); }
  // So many clients, each of which sends `request`.
  std::vector<Peer> ConnectAll(int clients, const std::string& request);
  // The end at the server of a connection that is new there, and whose first bytes are `request`,
  // which `client` sends.
  Peer AcceptFor(Peer& client, const std::string& request);
  // Lets the server read `request` from each of `clients`, on one connection, and send `reply`.
  void ServeAll(std::vector<Peer>& clients, const std::string& request, const std::string& reply);
  const SharedCounters& shared() { return exchange_->worker().shared; }

  LocalServer local_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace trunkline::test
