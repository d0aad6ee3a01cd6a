// A proxy's data plane in `message` or `direct` mode and servers that the test plays, in one
// process. Everything listens on loopback, port 0. Waits end with an event or a deadline.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/data_plane.h"
#include "tests/dataplane/whole/local_server.h"

namespace trunkline::test {

// Messages that end with a line feed.
std::shared_ptr<const Codec> Lines();
// The same, without replies.
std::shared_ptr<const Codec> OneWayLines();
// Messages with two bytes of length; FramesWithId has two bytes of id before them.
std::shared_ptr<const Codec> Frames(size_t max_bytes = 64 * 1024);
std::shared_ptr<const Codec> FramesWithId(size_t max_bytes = 64 * 1024);
std::shared_ptr<const Codec> Modbus();
std::shared_ptr<const Codec> Redis(size_t max_request_bytes = 64 * 1024);
std::shared_ptr<const Codec> Memcached(size_t max_request_bytes = 64 * 1024);
std::shared_ptr<const Codec> Http(size_t max_request_bytes = 64 * 1024);

// A message of FramesWithId.
std::string FrameWithId(uint16_t id, const std::string& content);
// A Modbus message; `content` begins with the unit.
std::string ModbusMessage(uint16_t id, const std::string& content);
// The id in the first two bytes of either kind of message.
uint16_t IdOf(const std::string& message);

class Exchange {
 public:
  struct Options {
    size_t workers = 1;
    ForwardingMode mode = ForwardingMode::kMessage;
    // Used in message mode only.
    std::shared_ptr<const Codec> codec = Lines();
    size_t shared_connections = 1;
    uint32_t max_connections = 0;
    size_t max_in_flight = 256;
    bool idempotent = false;
    bool greeting = false;
    absl::Duration reply_timeout = absl::Seconds(30);
    absl::Duration shared_idle_timeout = absl::Seconds(30);
    FlowLimits limits = {.connect_timeout = absl::Seconds(20)};
    std::shared_ptr<const HealthCheck> health_check = nullptr;
    ProxyVersion send_proxy_protocol = ProxyVersion::kNone;
    size_t checks_per_worker = DescriptorPlan::kAny;
    std::shared_ptr<ConnectionLog> connection_log = nullptr;
  };

  static constexpr char kService[] = "db";

  explicit Exchange(Options options);
  Exchange() : Exchange(Options()) {}

  // Adds an endpoint, which is in the table from the next Apply on. Returns its number.
  size_t AddServer(const Address& address, double weight = 1);
  void SetWeight(size_t endpoint, double weight) { endpoints_[endpoint].weight = weight; }
  void Remove(size_t endpoint) { endpoints_[endpoint].present = false; }
  void Restore(size_t endpoint) { endpoints_[endpoint].present = true; }
  // The endpoint is a name with these addresses from the next Apply on.
  void SetAddresses(size_t endpoint, std::vector<Address> addresses) {
    endpoints_[endpoint].named = std::move(addresses);
  }
  void SetHealthCheck(std::shared_ptr<const HealthCheck> check) {
    options_.health_check = std::move(check);
  }
  // Changes the service's options from the next Apply on.
  void Change(Options options);
  // Removes the service from the configuration.
  void ApplyWithoutService();
  // Returns when every worker has the table.
  void Apply();

  Peer Connect(int receive_buffer = 0) const { return ConnectPeer(listening(), receive_buffer); }
  Address listening() const;

  const EndpointCell& cell(size_t endpoint, size_t worker = 0) const {
    return endpoints_[endpoint].stats->cells()[worker];
  }
  const EndpointHealth& health(size_t endpoint) const { return endpoints_[endpoint].stats->health; }
  uint32_t connections(size_t endpoint) const;
  const WorkerStats& worker(size_t i = 0) { return stats_.worker(i); }
  const ListenerCell& listener() { return stats_.Listener(kService)->cell(0); }
  int64_t clients() const { return stats_.Clients(); }
  DataPlane& data_plane() { return *data_plane_; }
  // Stops the proxy.
  void Stop() { data_plane_.reset(); }

 private:
  struct TestEndpoint {
    double weight = 1;
    bool present = true;
    Address address;
    std::vector<Address> named;  // instead of `address`, if not empty
    std::shared_ptr<EndpointStats> stats;
  };
  std::shared_ptr<EndpointSet> MakeSet() const;
  void Apply(std::shared_ptr<RoutingTable> table);

  Options options_;
  TrafficStats stats_;
  std::shared_ptr<ListenerStats> listener_stats_;
  std::vector<TestEndpoint> endpoints_;
  uint64_t version_ = 0;
  int way_ = 0;  // grows with every Change
  std::unique_ptr<DataPlane> data_plane_;
};

// A fixture with one server that the test plays, or more.
class ExchangeTest : public ::testing::Test {
 protected:
  void Start(Exchange::Options options = {});
  void StartWith(const std::vector<Address>& servers, Exchange::Options options = {});

  Peer Connect(int receive_buffer = 0) { return exchange_->Connect(receive_buffer); }
  // Returns `clients` clients that have each sent `request`.
  std::vector<Peer> ConnectAll(int clients, const std::string& request);
  // Sends `request` from `client`. Returns the server's end of the new connection that it arrives
  // on.
  Peer AcceptFor(Peer& client, const std::string& request);
  // The server reads one `request` per client from one connection and answers each with `reply`.
  void ServeAll(std::vector<Peer>& clients, const std::string& request, const std::string& reply);
  const SharedCounters& shared() { return exchange_->worker().shared; }

  LocalServer local_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace trunkline::test
