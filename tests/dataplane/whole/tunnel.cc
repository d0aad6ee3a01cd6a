#include "tests/dataplane/whole/tunnel.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/sample/service_traffic.h"
#include "agent/trunk/trunk_server.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "dataplane/data_plane.h"
#include "dataplane/memory/memory_guard.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/eventually.h"

namespace trunkline::test {

Tunnel::Tunnel(Options options) : options_(std::move(options)), stats_(options_.workers) {
  signal(SIGPIPE, SIG_IGN);  // as every program does at its start
  MemoryGuard::Source memory;
  if (options_.memory != nullptr) {
    memory = {.read = [this] { return options_.memory(stats_); }, .give_back = [] {}};
  }
  data_plane_ =
      std::make_unique<DataPlane>(DataPlane::Options{.workers = options_.workers,
                                                     .max_clients = options_.max_clients,
                                                     .descriptors = options_.descriptors,
                                                     .trunks = options_.trunks,
                                                     .random_seed = 1,
                                                     .memory = memory,
                                                     .connection_log = options_.connection_log},
                                  stats_);
}

Tunnel::~Tunnel() = default;

size_t Tunnel::AddAgent(const Address& target, double weight) {
  auto traffic = std::make_unique<TrafficTable>(1, 1);
  TrunkServer::Options options;
  options.listen = {.host = "127.0.0.1", .port = 0};
  options.services = {
      {.name = kService, .target = target, .proxy_protocol = options_.agent_proxy_protocol}};
  options.max_streams = options_.agent_max_streams;
  auto agent = TrunkServer::Start(options, *traffic);
  EXPECT_TRUE(agent.ok()) << agent.status();
  const auto port = static_cast<uint16_t>((*agent)->port());
  const size_t endpoint = AddEndpoint({.host = "127.0.0.1", .port = port}, weight);
  endpoints_[endpoint].traffic = std::move(traffic);
  endpoints_[endpoint].agent = *std::move(agent);
  return endpoint;
}

size_t Tunnel::AddEndpoint(const Address& trunk_address, double weight) {
  TestEndpoint endpoint;
  endpoint.weight = weight;
  endpoint.trunk_address = trunk_address;
  endpoint.stats = stats_.Endpoint(kService, absl::StrCat("e", endpoints_.size()));
  endpoints_.push_back(std::move(endpoint));
  return endpoints_.size() - 1;
}

void Tunnel::Apply() {
  auto set = std::make_shared<EndpointSet>();
  set->service = kService;
  set->authority = absl::StrCat(kService, ":0");
  set->listen = {{.host = "127.0.0.1", .port = 0}};
  set->limits = options_.limits;
  set->stats = stats_.Listener(kService);
  for (const TestEndpoint& from : endpoints_) {
    if (!from.present) continue;
    Endpoint endpoint;
    endpoint.id = from.stats->endpoint_id;
    endpoint.address = from.trunk_address.ToString();
    endpoint.addresses = KnownAddresses(from.trunk_address);
    endpoint.weight = from.weight;
    endpoint.stats = from.stats;
    set->endpoints.push_back(std::move(endpoint));
  }
  options_.adapt(*set);
  auto table = std::make_shared<RoutingTable>();
  table->version = ++version_;
  table->services.push_back(std::move(set));
  data_plane_->Apply(std::move(table));
  EXPECT_EQ(data_plane_->MissingListeners(), "");
}

void Tunnel::Start() {
  Apply();
  const auto up = [this] {
    for (size_t i = 0; i < options_.workers; ++i) {
      if (stats_.worker(i).trunks_up.Value() < endpoints_.size()) return false;
    }
    return true;
  };
  EXPECT_TRUE(Eventually(up)) << "no trunks";
}

Address Tunnel::listening() const {
  return ParseAddress(data_plane_->Listening().at(kService).front()).value();
}

// Accepted sockets inherit the buffers of their listener, which is some descriptor of this process.
void Tunnel::LimitSendBuffers(int bytes) const {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 0; fd < static_cast<int>(limit.rlim_cur); ++fd) {
    int listens = 0;
    socklen_t size = sizeof listens;
    const bool is_socket = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0;
    if (!is_socket || listens == 0 || BoundPort(fd) != listening().port) continue;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
}

}  // namespace trunkline::test
