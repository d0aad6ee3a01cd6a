// A controller's responses, applied as the subscriber applies them: in order, with the last valid
// one kept, and weights that relax once responses stop. Input: see control_messages.h.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cmath>
#include <memory>
#include <set>

#include "common/net/listen_addresses.h"
#include "dataplane/control/snapshot_sequence.h"
#include "dataplane/control/snapshot_wire.h"
#include "tests/fuzz/control_messages.h"

namespace trunkline {
namespace {

// Every second name resolves.
AddressList Resolve(const Address& address) {
  if (address.port % 2 == 0) return nullptr;
  SocketAddress resolved;
  resolved.size = sizeof(sockaddr_in);
  return OneAddress(resolved);
}

void CheckTimeout(absl::Duration timeout) {
  EXPECT_GT(timeout, absl::ZeroDuration());
  EXPECT_LE(timeout, absl::Hours(7 * 24));
}

void CheckMessageMode(const EndpointSet& service) {
  EXPECT_EQ(service.message != nullptr, service.mode == ForwardingMode::kMessage);
  if (service.message == nullptr) return;
  const SharedConnectionOptions& connection = service.message->connection;
  ASSERT_NE(connection.codec, nullptr);
  EXPECT_NE(connection.codec->NewRequestParser(), nullptr);
  CheckTimeout(connection.connect_timeout);
  CheckTimeout(connection.reply_timeout);
  CheckTimeout(connection.idle_timeout);
  // The bound of the configuration (service.proto) on the bytes that one message makes a worker
  // buffer.
  EXPECT_TRUE(connection.max_in_flight >= 1 && connection.max_in_flight <= 65536);
  EXPECT_TRUE(service.message->max_shared >= 1 && service.message->max_shared <= 1024);
}

void CheckTable(const RoutingTable& table) {
  std::set<std::string> services;
  ListenAddresses listens;
  for (const auto& service : table.services) {
    EXPECT_FALSE(service->service.empty());
    EXPECT_TRUE(!service->listen.empty() && service->listen.size() <= 16);
    EXPECT_TRUE(listens.AddAll(service->service, service->listen).ok()) << service->service;
    EXPECT_TRUE(services.insert(service->service).second) << "duplicate";
    CheckTimeout(service->limits.connect_timeout);
    CheckTimeout(service->limits.idle_timeout);
    CheckTimeout(service->limits.first_byte_timeout);
    CheckMessageMode(*service);
    EXPECT_GT(service->limits.max_clients, 0u);
    std::set<std::string> endpoints;
    for (const Endpoint& endpoint : service->endpoints) {
      EXPECT_TRUE(endpoints.insert(endpoint.id).second) << "duplicate";
      EXPECT_TRUE(std::isfinite(endpoint.weight) && endpoint.weight >= 0) << endpoint.weight;
      EXPECT_NE(endpoint.stats, nullptr);
    }
  }
}

class Subscriber {
 public:
  void Take(const v1::SubscribeResponse& response) {
    const absl::StatusOr<v1::Snapshot> next = NextSnapshot(snapshot_, response);
    if (!next.ok()) return CheckRefusal(next.status());
    std::vector<RefusedService> refused;
    const auto table = BuildRoutingTable(*next, table_.get(), Resolve, stats_, &refused);
    if (!table.ok()) return CheckRefusal(table.status());
    CheckTable(**table);
    snapshot_ = *next;
    table_ = *table;
    CheckShared();
    CheckRelaxed();
  }

 private:
  static void CheckRefusal(const absl::Status& status) {
    EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status)) << status;
    EXPECT_FALSE(status.message().empty());
  }
  // The same response again changes nothing, so workers keep their table.
  void CheckShared() {
    std::vector<RefusedService> refused;
    const auto again = BuildRoutingTable(snapshot_, table_.get(), Resolve, stats_, &refused);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->services, table_->services);
  }
  // A proxy without a controller keeps using the last accepted snapshot.
  void CheckRelaxed() {
    for (const absl::Duration silence :
         {absl::ZeroDuration(), absl::Seconds(90), absl::Hours(1), absl::Hours(100'000)}) {
      std::vector<RefusedService> refused;
      const auto relaxed = BuildRoutingTable(RelaxedSnapshot(snapshot_, silence), table_.get(),
                                             Resolve, stats_, &refused);
      ASSERT_TRUE(relaxed.ok()) << silence << ": " << relaxed.status();
      CheckTable(**relaxed);
    }
  }

  TrafficStats stats_{1};
  v1::Snapshot snapshot_;
  std::shared_ptr<const RoutingTable> table_;
};

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  Subscriber subscriber;
  for (const auto& response : test::ReadMessages<v1::SubscribeResponse>({data, size})) {
    subscriber.Take(response);
  }
  return 0;
}
