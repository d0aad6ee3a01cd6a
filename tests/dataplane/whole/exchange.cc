#include "tests/dataplane/whole/exchange.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/http1.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/codec/memcached.h"
#include "dataplane/codec/modbus_tcp.h"
#include "dataplane/codec/redis.h"
#include "dataplane/data_plane.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {
namespace {

std::string TwoBytes(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::shared_ptr<const Codec> LengthField(const LengthFieldOptions& options) {
  auto codec = NewLengthFieldCodec(options);
  EXPECT_TRUE(codec.ok()) << codec.status();
  return std::shared_ptr<const Codec>(*std::move(codec));
}

AddressList AddressListOf(const Address& address, const std::vector<Address>& named) {
  if (named.empty()) return KnownAddresses(address);
  std::vector<SocketAddress> all;
  for (const Address& one : named) all.push_back(ResolveAddress(one).value());
  return std::make_shared<const std::vector<SocketAddress>>(std::move(all));
}

}  // namespace

std::shared_ptr<const Codec> Lines() {
  return std::shared_ptr<const Codec>(NewDelimiterCodec({.delimiter = "\n"}).value());
}

std::shared_ptr<const Codec> OneWayLines() {
  return std::shared_ptr<const Codec>(
      NewDelimiterCodec({.delimiter = "\n", .one_way = true}).value());
}

std::shared_ptr<const Codec> Frames(size_t max_bytes) {
  return LengthField({.length_size = 2, .max_message_bytes = max_bytes});
}

std::shared_ptr<const Codec> FramesWithId(size_t max_bytes) {
  return LengthField({.length_offset = 2,
                      .length_size = 2,
                      .max_message_bytes = max_bytes,
                      .id = IdField{.offset = 0, .size = 2}});
}

std::shared_ptr<const Codec> Modbus() { return NewModbusTcpCodec(); }

std::shared_ptr<const Codec> Redis(size_t max_request_bytes) {
  return NewRedisCodec({.max_request_bytes = max_request_bytes});
}

std::shared_ptr<const Codec> Memcached(size_t max_request_bytes) {
  return NewMemcachedCodec({.max_request_bytes = max_request_bytes});
}

std::shared_ptr<const Codec> Http(size_t max_request_bytes) {
  return NewHttp1Codec({.max_request_bytes = max_request_bytes});
}

std::string FrameWithId(uint16_t id, const std::string& content) {
  return TwoBytes(id) + TwoBytes(content.size()) + content;
}

std::string ModbusMessage(uint16_t id, const std::string& content) {
  return TwoBytes(id) + TwoBytes(0) + TwoBytes(content.size()) + content;
}

uint16_t IdOf(const std::string& message) {
  if (message.size() < 2) return 0;
  return static_cast<uint16_t>(static_cast<uint8_t>(message[0]) << 8 |
                               static_cast<uint8_t>(message[1]));
}

Exchange::Exchange(Options options)
    : options_(std::move(options)),
      stats_(options_.workers),
      listener_stats_(stats_.Listener(kService)) {
  data_plane_ = std::make_unique<DataPlane>(
      DataPlane::Options{.workers = options_.workers,
                         .descriptors = {.checks_per_worker = options_.checks_per_worker},
                         .random_seed = 1,
                         .connection_log = options_.connection_log},
      stats_);
}

size_t Exchange::AddServer(const Address& address, double weight) {
  endpoints_.push_back({.weight = weight,
                        .address = address,
                        .named = {},
                        .stats = stats_.Endpoint(kService, absl::StrCat("e", endpoints_.size()))});
  return endpoints_.size() - 1;
}

void Exchange::Change(Options options) {
  options_ = std::move(options);
  ++way_;
}

std::shared_ptr<EndpointSet> Exchange::MakeSet() const {
  auto set = std::make_shared<EndpointSet>();
  set->service = kService;
  set->authority = absl::StrCat(kService, ":0");
  set->listen = {{.host = "127.0.0.1", .port = 0}};
  set->limits = options_.limits;
  set->stats = listener_stats_;
  set->mode = options_.mode;
  set->forwarding_key = absl::StrCat("way ", way_);
  set->health_check = options_.health_check;
  set->send_proxy_protocol = options_.send_proxy_protocol;
  if (set->mode == ForwardingMode::kMessage) {
    const SharedConnectionOptions connection = {.codec = options_.codec,
                                                .max_in_flight = options_.max_in_flight,
                                                .idempotent = options_.idempotent,
                                                .greeting = options_.greeting,
                                                .connect_timeout = options_.limits.connect_timeout,
                                                .reply_timeout = options_.reply_timeout,
                                                .idle_timeout = options_.shared_idle_timeout};
    set->message = std::make_shared<MessageService>(
        MessageService{.connection = connection,
                       .max_shared = options_.shared_connections,
                       .max_connections = options_.max_connections});
  }
  for (const TestEndpoint& from : endpoints_) {
    if (!from.present) continue;
    Endpoint endpoint;
    endpoint.id = from.stats->endpoint_id;
    endpoint.address = from.address.ToString();
    endpoint.addresses = AddressListOf(from.address, from.named);
    endpoint.weight = from.weight;
    endpoint.stats = from.stats;
    set->endpoints.push_back(std::move(endpoint));
  }
  return set;
}

void Exchange::Apply() {
  auto table = std::make_shared<RoutingTable>();
  table->services.push_back(MakeSet());
  Apply(std::move(table));
}

void Exchange::ApplyWithoutService() { Apply(std::make_shared<RoutingTable>()); }

void Exchange::Apply(std::shared_ptr<RoutingTable> table) {
  table->version = ++version_;
  const std::weak_ptr<RoutingTable> posted = table;
  data_plane_->Apply(std::move(table));
  EXPECT_EQ(data_plane_->MissingListeners(), "");
  // A worker keeps a reference to the table until it has applied it.
  EXPECT_TRUE(Eventually([&] { return posted.expired(); })) << "a worker does not take the table";
}

Address Exchange::listening() const {
  return ParseAddress(data_plane_->Listening().at(kService).front()).value();
}

uint32_t Exchange::connections(size_t endpoint) const {
  uint32_t used = 0;
  for (size_t i = 0; i < options_.workers; ++i)
    used += endpoints_[endpoint].stats->budget(i)->used();
  return used;
}

void ExchangeTest::Start(Exchange::Options options) {
  StartWith({local_.address()}, std::move(options));
}

void ExchangeTest::StartWith(const std::vector<Address>& servers, Exchange::Options options) {
  exchange_ = std::make_unique<Exchange>(std::move(options));
  for (const Address& server : servers) exchange_->AddServer(server);
  exchange_->Apply();
}

std::vector<Peer> ExchangeTest::ConnectAll(int clients, const std::string& request) {
  std::vector<Peer> peers;
  for (int i = 0; i < clients; ++i) {
    peers.push_back(Connect());
    EXPECT_TRUE(peers.back().Send(request)) << i;
  }
  return peers;
}

Peer ExchangeTest::AcceptFor(Peer& client, const std::string& request) {
  EXPECT_TRUE(client.Send(request));
  Peer server = local_.Accept();
  EXPECT_EQ(server.Read(request.size()), request);
  return server;
}

void ExchangeTest::ServeAll(std::vector<Peer>& clients, const std::string& request,
                            const std::string& reply) {
  Peer server = local_.Accept();
  for (size_t i = 0; i < clients.size(); ++i) {
    ASSERT_EQ(server.Read(request.size()), request) << i;
    ASSERT_TRUE(server.Send(reply));
  }
  for (Peer& client : clients) EXPECT_EQ(client.Read(reply.size()), reply);
}

}  // namespace trunkline::test
