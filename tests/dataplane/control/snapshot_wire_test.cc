#include "dataplane/control/snapshot_wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/config/config.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/codec/message_limit.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/alias_table.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/health_check.h"
#include "dataplane/table/message_service.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/config/documented_defaults.h"
#include "tests/dataplane/control/held_snapshot.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RoutingTableTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<const RoutingTable>> Build(
      const v1::Snapshot& snapshot, const RoutingTable* previous = nullptr) {
    return BuildRoutingTable(
        snapshot, previous,
        [this](const Address& address) -> AddressList {
          ++lookups_;
          if (address.host == unresolvable_) return nullptr;
          return KnownAddresses(
              {.host = "127.0.0.1", .port = static_cast<uint16_t>(address.port + moved_)});
        },
        stats_, &refused_);
  }
  absl::StatusOr<std::shared_ptr<const RoutingTable>> Build(const std::string& text) {
    return Build(Snapshot(text));
  }
  // Returns why a service of kHeld is refused, or all of it, with `from` replaced by `to`.
  std::string Refusal(const std::string& from, const std::string& to) {
    std::string text = kHeld;
    const size_t at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    text.replace(at, from.size(), to);
    return Refusal(Snapshot(text));
  }
  std::string Refusal(const v1::Snapshot& snapshot) {
    const auto table = Build(snapshot);
    if (!table.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(table.status())) << table.status();
      return std::string(table.status().message());
    }
    EXPECT_EQ(refused_.size(), 1u) << snapshot.DebugString();
    return refused_.empty() ? "" : refused_[0].reason;
  }

  TrafficStats stats_{2};
  std::vector<RefusedService> refused_;
  std::string unresolvable_;
  uint16_t moved_ = 0;
  int lookups_ = 0;  // calls of the resolver
};

TEST_F(RoutingTableTest, TableHasEverythingInTheSnapshot) {
  const auto table = Build(R"(id { epoch: 3 version: 7 }
    services { name: "db" mode: FORWARDING_MODE_TUNNEL listener { address: "0.0.0.0:5432" }
      limits { connect_timeout { seconds: 1 nanos: 500000000 } idle_timeout { seconds: 60 }
               first_byte_timeout { seconds: 5 } max_clients: 77 max_clients_per_source: 7 }
      accept_proxy_protocol: true send_proxy_protocol: PROXY_PROTOCOL_V2
      endpoints { endpoint_id: "a" address: "host:7073" weight: 2.5 } })");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ((*table)->epoch, 3u);
  EXPECT_EQ((*table)->version, 7u);
  const EndpointSet& db = *(*table)->services.at(0);
  EXPECT_EQ(db.authority, "db:5432");
  EXPECT_EQ(db.listen.at(0).ToString(), "0.0.0.0:5432");
  EXPECT_EQ(db.limits.connect_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(db.limits.idle_timeout, absl::Minutes(1));
  EXPECT_EQ(db.limits.first_byte_timeout, absl::Seconds(5));
  EXPECT_EQ(db.limits.max_clients, 77u);
  EXPECT_EQ(db.limits.max_clients_per_source, 7u);
  EXPECT_TRUE(db.accept_proxy_protocol);
  EXPECT_EQ(db.send_proxy_protocol, ProxyVersion::kV2);
  EXPECT_EQ(db.endpoints.at(0).weight, 2.5);
  EXPECT_EQ(db.endpoints.at(0).addresses->front().ToString(), "127.0.0.1:7073");
}

TEST_F(RoutingTableTest, UnsetLimitsGetTheirDefaults) {
  const auto table = Build(kHeld);
  ASSERT_TRUE(table.ok());
  EXPECT_EQ((*table)->services[0]->limits.connect_timeout, FlowLimits().connect_timeout);
  EXPECT_EQ((*table)->services[0]->limits.max_clients, FlowLimits().max_clients);
  EXPECT_EQ((*table)->services[0]->limits.max_clients_per_source, 0u);
  EXPECT_FALSE((*table)->services[0]->accept_proxy_protocol);
  EXPECT_EQ((*table)->services[0]->send_proxy_protocol, ProxyVersion::kNone);
}

TEST_F(RoutingTableTest, DocumentedDefaultsOfLimitsAreThoseInEffect) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  const absl::Status parsed =
      ParseConfig(DefaultsAsYaml(*v1::FlowLimits::descriptor()), "limits.yaml",
                  snapshot.mutable_services(0)->mutable_limits());
  ASSERT_TRUE(parsed.ok()) << parsed;
  const auto table = Build(snapshot);
  ASSERT_TRUE(table.ok()) << table.status();
  const FlowLimits& documented = (*table)->services[0]->limits;
  EXPECT_EQ(documented.connect_timeout, FlowLimits().connect_timeout);
  EXPECT_EQ(documented.idle_timeout, FlowLimits().idle_timeout);
  EXPECT_EQ(documented.first_byte_timeout, FlowLimits().first_byte_timeout);
  EXPECT_EQ(documented.max_clients, FlowLimits().max_clients);
}

TEST_F(RoutingTableTest, DocumentedDefaultsOfMessageModeAreThoseInEffect) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.set_mode(v1::FORWARDING_MODE_MESSAGE);
  const absl::Status parsed = ParseConfig(
      DefaultsAsYaml(*v1::MessageOptions::descriptor()) + "length_field:\n  length: 4\n" +
          DefaultsAsYaml(*v1::LengthFieldCodec::descriptor(), "  "),
      "message.yaml", service.mutable_message());
  ASSERT_TRUE(parsed.ok()) << parsed;
  const auto table = Build(snapshot);
  ASSERT_TRUE(table.ok()) << table.status();
  const MessageService& documented = *(*table)->services[0]->message;
  EXPECT_EQ(service.message().max_message_bytes(), kDefaultMaxMessageBytes);
  EXPECT_EQ(documented.max_shared, MessageService().max_shared);
  EXPECT_EQ(documented.connection.max_in_flight, SharedConnectionOptions().max_in_flight);
  EXPECT_EQ(documented.connection.reply_timeout, SharedConnectionOptions().reply_timeout);
  EXPECT_EQ(documented.connection.idle_timeout, SharedConnectionOptions().idle_timeout);
}

TEST_F(RoutingTableTest, ProxyProtocolThatCannotBeSentIsRefused) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.set_send_proxy_protocol(static_cast<v1::ProxyProtocol>(9));
  const auto refusal = [&] { return Refusal(snapshot); };
  EXPECT_THAT(refusal(), ::testing::HasSubstr("send_proxy_protocol 9 is not known"));
  service.set_send_proxy_protocol(v1::PROXY_PROTOCOL_V1);
  service.set_mode(v1::FORWARDING_MODE_MESSAGE);
  service.mutable_message()->mutable_redis();
  EXPECT_THAT(refusal(), ::testing::HasSubstr("is not possible in message mode"));
  service.set_accept_proxy_protocol(true);
  service.set_send_proxy_protocol(v1::PROXY_PROTOCOL_NONE);
  EXPECT_TRUE(Build(snapshot).ok());
  EXPECT_TRUE(refused_.empty());
}

TEST_F(RoutingTableTest, OtherServicesAreTakenWhenOneCannotBeUsed) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_listener()->set_address(0, "unix:/run/x.sock");
  const auto table = Build(snapshot);
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ((*table)->services.size(), 1u);
  EXPECT_EQ((*table)->services[0]->service, "cache");
  ASSERT_EQ(refused_.size(), 1u);
  EXPECT_EQ(refused_[0].service, "db");
  EXPECT_FALSE(refused_[0].kept);
}

TEST_F(RoutingTableTest, ServiceThatCannotBeUsedKeepsItsFormerVersion) {
  const auto first = Build(kHeld);
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(0)->mutable_limits()->set_max_clients(5);
  snapshot.mutable_services(1)->set_mode(static_cast<v1::ForwardingMode>(9));
  const auto second = Build(snapshot, first->get());
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ((*second)->services.size(), 2u);
  EXPECT_EQ((*second)->services[0]->limits.max_clients, 5u) << "the other one changes";
  EXPECT_EQ((*second)->services[1], (*first)->services[1]);
  EXPECT_TRUE(refused_.at(0).kept);
  // The next snapshot without the fault replaces it.
  snapshot.mutable_services(1)->set_mode(v1::FORWARDING_MODE_DIRECT);
  const auto third = Build(snapshot, second->get());
  EXPECT_EQ((*third)->services[1]->mode, ForwardingMode::kDirect);
  EXPECT_TRUE(refused_.empty());
}

TEST_F(RoutingTableTest, AllAddressesOfAServiceAreInTheTable) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_listener()->add_address("[::]:5432");
  const auto table = Build(snapshot);
  ASSERT_TRUE(table.ok()) << table.status();
  const EndpointSet& db = *(*table)->services[1];
  EXPECT_EQ(db.listen, (std::vector<Address>{{.host = "0.0.0.0", .port = 5432},
                                             {.host = "::", .port = 5432}}));
  EXPECT_EQ(db.authority, "db:5432");
}

TEST_F(RoutingTableTest, ServiceWithOneUnusableAddressIsRefusedWhole) {
  const std::pair<const char*, const char*> cases[] = {
      {"unix:/x", "service db: listener.address[1]: expected host:port; got \"unix:/x\""},
      {"nine", "service db: listener.address[1]: expected host:port; got \"nine\""},
      {"0.0.0.0:5432", "service db lists 0.0.0.0:5432 twice"},
      {"10.0.0.1:5432", "service db cannot listen on 10.0.0.1:5432 beside service db"},
      {"0.0.0.0:6379", "services cache and db both listen on 0.0.0.0:6379"},
      {"10.0.0.1:6379", "service db cannot listen on 10.0.0.1:6379 beside service cache"},
  };
  const auto first = Build(kHeld);
  for (const auto& [address, why] : cases) {
    v1::Snapshot snapshot = Snapshot(kHeld);
    snapshot.mutable_services(1)->mutable_listener()->add_address(address);
    const auto second = Build(snapshot, first->get());
    ASSERT_TRUE(second.ok()) << second.status();
    ASSERT_EQ((*second)->services.size(), 2u);
    EXPECT_EQ((*second)->services[1], (*first)->services[1]) << "the former version is kept";
    ASSERT_EQ(refused_.size(), 1u) << address;
    EXPECT_THAT(refused_[0].reason, HasSubstr(why));
  }
}

TEST_F(RoutingTableTest, AddressesAreBounded) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Listener& listener = *snapshot.mutable_services(1)->mutable_listener();
  for (int i = 1; i < 16; ++i) listener.add_address(absl::StrCat("10.0.0.1:", i));
  ASSERT_TRUE(Build(snapshot).ok());
  EXPECT_TRUE(refused_.empty());
  listener.add_address("10.0.0.1:16");
  ASSERT_TRUE(Build(snapshot).ok());
  ASSERT_EQ(refused_.size(), 1u);
  EXPECT_THAT(refused_[0].reason, HasSubstr("expected 1 to 16 addresses; got 17"));
  while (listener.address_size() < 2000) listener.add_address("10.0.0.1:1");
  EXPECT_THAT(std::string(Build(snapshot).status().message()),
              HasSubstr("more than 2000 addresses to listen on: 2001"));
}

TEST_F(RoutingTableTest, FormerVersionWhoseListenerAnotherServiceTookIsNotKept) {
  const auto first = Build(kHeld);
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(0)->mutable_listener()->set_address(0, "0.0.0.0:5432");
  snapshot.mutable_services(1)->mutable_endpoints(0)->set_weight(-1);
  const auto second = Build(snapshot, first->get());
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ((*second)->services.size(), 1u);
  EXPECT_FALSE(refused_.at(0).kept);
}

TEST_F(RoutingTableTest, SnapshotWithoutAnyUsableServiceIsRefusedWhole) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  for (v1::Service& service : *snapshot.mutable_services()) service.clear_listener();
  EXPECT_TRUE(absl::IsInvalidArgument(Build(snapshot).status()));
  snapshot.clear_services();
  EXPECT_TRUE(Build(snapshot).ok()) << "none is configured";
}

TEST_F(RoutingTableTest, DrainingEndpointHasWeightZero) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_endpoints(0)->set_draining(true);
  EXPECT_EQ((*Build(snapshot))->services[1]->endpoints[0].weight, 0);
}

TEST_F(RoutingTableTest, UnresolvedNameIsNotAnError) {
  unresolvable_ = "10.0.0.1";
  const auto table = Build(kHeld);
  ASSERT_TRUE(table.ok());
  EXPECT_EQ((*table)->services[1]->endpoints[0].addresses, nullptr);
  EXPECT_NE((*table)->services[1]->endpoints[1].addresses, nullptr);
}

TEST_F(RoutingTableTest, InvalidMessageOptionsAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"reply_timeout { seconds: 0 }",
       "message.reply_timeout: expected a duration from 10ms to 1h"},
      {"reply_timeout { seconds: -3 }", "got -3s"},
      {"idle_timeout { seconds: 9223372036854775807 }", "message.idle_timeout"},
      {"max_in_flight: 65537",
       "message.max_in_flight: expected a whole number from 1 to 65536 (default 256); got 65537"},
      {"shared_connections: 1025",
       "message.shared_connections: expected a whole number from 1 to 1024"},
      {"max_connections: 65537",
       "message.max_connections: expected a whole number from 1 to 65536"},
      {"max_message_bytes: 67108865",
       "message.max_message_bytes: expected a size in bytes from 16 to 67108864"},
  };
  for (const auto& [option, words] : cases) {
    const std::string mode =
        std::string("mode: FORWARDING_MODE_MESSAGE message { redis {} ") + option + " }";
    EXPECT_THAT(Refusal("mode: FORWARDING_MODE_TUNNEL", mode),
                AllOf(HasSubstr("service cache"), HasSubstr(words)));
  }
}

TEST_F(RoutingTableTest, GreetingIsForCodecsWhoseServersMaySpeakFirst) {
  const auto refusal = [&](const std::string& options) {
    return Refusal("mode: FORWARDING_MODE_TUNNEL",
                   "mode: FORWARDING_MODE_MESSAGE message { " + options + " }");
  };
  for (const char* codec : {"redis {}", "memcached {}", "http1 {}", "modbus_tcp {}"}) {
    EXPECT_THAT(refusal(std::string(codec) + " greeting: GREETING_ONE_MESSAGE"),
                AllOf(HasSubstr("service cache"),
                      HasSubstr("message.greeting: expected only with length_field or delimiter")));
  }
  EXPECT_THAT(refusal("delimiter { delimiter: 'x' shared_prefixes: 'a' } "
                      "greeting: GREETING_ONE_MESSAGE"),
              HasSubstr("message.greeting: expected without delimiter.shared_prefixes"));
  EXPECT_THAT(refusal("delimiter { delimiter: 'x' } greeting: 7"),
              HasSubstr("message.greeting: expected one_message or nothing; got 7"));
}

std::string RedisWith(const std::string& auth) {
  return "mode: FORWARDING_MODE_MESSAGE message { redis { auth { " + auth + " } } }";
}

TEST_F(RoutingTableTest, InvalidRedisCredentialsAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "message.redis.auth.password_file: expected the absolute path"},
      {"password_file: 'secret'", "message.redis.auth.password_file: expected the absolute path"},
      {"password_file: '/a' user: 'a b'", "message.redis.auth.user: expected"},
      {"password_file: '/no/such/file'",
       "message.redis.auth.password_file: cannot read /no/such/file: No such file"},
  };
  for (const auto& [auth, words] : cases) {
    EXPECT_THAT(Refusal("mode: FORWARDING_MODE_TUNNEL", RedisWith(auth)),
                AllOf(HasSubstr("service cache"), HasSubstr(words)));
  }
}

// A snapshot whose service "cache" has this password file.
v1::Snapshot WithPasswordFile(const std::string& path) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& cache = *snapshot.mutable_services(0);
  cache.set_mode(v1::FORWARDING_MODE_MESSAGE);
  cache.mutable_message()->mutable_redis()->mutable_auth()->set_password_file(path);
  return snapshot;
}

TEST_F(RoutingTableTest, ServiceWithoutItsPasswordIsMissingAndOthersAreTaken) {
  const auto table = Build(WithPasswordFile("/no/such/file"));
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ((*table)->services.size(), 1u);
  EXPECT_EQ((*table)->services[0]->service, "db");
  EXPECT_THAT(RefusalText(refused_), HasSubstr("service cache refused, not in service"));
}

// The password is in no snapshot, so the snapshot stays the same.
TEST_F(RoutingTableTest, ChangedPasswordChangesHowTheServiceForwards) {
  const test::ScratchFolder folder;
  const v1::Snapshot snapshot = WithPasswordFile(folder.File("password"));
  folder.Write("password", "first");
  const auto first = Build(snapshot);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ((*first)->services.size(), 2u);
  EXPECT_EQ((*first)->services[0]->forwarding_key.find("first"), std::string::npos);
  const auto same = Build(snapshot, first->get());
  EXPECT_EQ((*same)->services[0], (*first)->services[0]);
  folder.Write("password", "second");
  const auto second = Build(snapshot, first->get());
  EXPECT_NE((*second)->services[0]->forwarding_key, (*first)->services[0]->forwarding_key);
  std::filesystem::remove(folder.File("password"));
  const auto third = Build(snapshot, second->get());
  EXPECT_EQ((*third)->services[0], (*second)->services[0]) << "the former version stays";
  EXPECT_EQ(refused_.size(), 1u);
}

std::string LoginOf(const EndpointSet& set) {
  const auto& check = std::get<RedisCheck>(set.health_check->kind);
  return check.login != nullptr ? std::string(check.login->Opening(0)) : "";
}

TEST_F(RoutingTableTest, RedisCheckUsesTheCredentialOfTheServiceAndLearnsANewPassword) {
  const test::ScratchFolder folder;
  v1::Snapshot snapshot = WithPasswordFile(folder.File("password"));
  snapshot.mutable_services(0)->mutable_health_check()->mutable_redis();
  folder.Write("password", "first");
  const auto first = Build(snapshot);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(LoginOf(*(*first)->services[0]), HasSubstr("AUTH\r\n$5\r\nfirst"));
  const auto same = Build(snapshot, first->get());
  EXPECT_EQ((*same)->services[0], (*first)->services[0]);
  folder.Write("password", "second");
  const auto second = Build(snapshot, first->get());
  EXPECT_THAT(LoginOf(*(*second)->services[0]), HasSubstr("second"));
  EXPECT_NE(*(*second)->services[0]->health_check, *(*first)->services[0]->health_check);
}

// In direct mode, and where clients have credentials of their own.
TEST_F(RoutingTableTest, RedisCheckMayHaveACredentialOfItsOwn) {
  const test::ScratchFolder folder;
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.set_mode(v1::FORWARDING_MODE_DIRECT);
  service.mutable_health_check()->mutable_redis();
  EXPECT_EQ(LoginOf(*(*Build(snapshot))->services[0]), "");
  v1::RedisAuth& auth = *service.mutable_health_check()->mutable_redis()->mutable_auth();
  auth.set_user("app");
  auth.set_password_file(folder.File("password"));
  EXPECT_THAT(Refusal(snapshot), HasSubstr("health_check.redis.auth.password_file: cannot read"));
  folder.Write("password", "first");
  const auto first = Build(snapshot);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(LoginOf(*(*first)->services[0]), HasSubstr("app\r\n$5\r\nfirst"));
  folder.Write("password", "second");
  const auto second = Build(snapshot, first->get());
  ASSERT_NE((*second)->services[0], (*first)->services[0]);
  EXPECT_TRUE(SameLayout(*(*second)->services[0], *(*first)->services[0]));
  EXPECT_THAT(LoginOf(*(*second)->services[0]), HasSubstr("second"));
}

TEST_F(RoutingTableTest, HealthCheckTakesAConnectionFromThoseThatAreLimited) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.set_mode(v1::FORWARDING_MODE_MESSAGE);
  service.mutable_message()->mutable_modbus_tcp();
  service.mutable_message()->set_max_connections(4);
  const auto unchecked = Build(snapshot);
  ASSERT_TRUE(unchecked.ok()) << unchecked.status();
  service.mutable_health_check()->mutable_tcp()->set_send_hex("0001 0000");
  service.mutable_health_check()->mutable_tcp()->set_expect_hex("fF");
  const auto checked = Build(snapshot, unchecked->get());
  ASSERT_TRUE(checked.ok()) << checked.status();
  const EndpointSet& set = *(*checked)->services[0];
  EXPECT_EQ(ShareOf(set, 0, 1).connections, 3u);
  EXPECT_NE(set.forwarding_key, (*unchecked)->services[0]->forwarding_key)
      << "workers divide the connections anew";
  const TcpCheck expected = {.send = std::string("\0\1\0\0", 4), .expect = "\xff"};
  EXPECT_EQ(std::get<TcpCheck>(set.health_check->kind), expected);
}

TEST_F(RoutingTableTest, OneWayExcludesOptionsThatNeedReplies) {
  const std::pair<const char*, const char*> cases[] = {
      {"delimiter { delimiter: '\\n' one_way: true shared_prefixes: 'get ' }",
       "message.delimiter.shared_prefixes: expected none beside one_way; got 1"},
      {"length_field { length: 2 one_way: true id_offset: 2 id_length: 4 }",
       "message.length_field.id_length: expected none beside one_way; got 4"},
  };
  for (const auto& [codec, words] : cases) {
    const std::string mode = absl::StrCat("mode: FORWARDING_MODE_MESSAGE message { ", codec, " }");
    EXPECT_THAT(Refusal("mode: FORWARDING_MODE_TUNNEL", mode), HasSubstr(words));
  }
}

std::string Repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST_F(RoutingTableTest, UselessIdempotentMethodsAreRefused) {
  const std::string too_many = absl::StrCat("idempotent_methods: ['A'", Repeated(", 'A'", 16), "]");
  const std::pair<std::string, const char*> cases[] = {
      {"idempotent_methods: ''", "got \"\""},
      {"idempotent_methods: 'P OST'", "got \"P OST\""},
      {"idempotent_methods: 'PO\\001ST'", "got \"PO\\x01ST\""},
      {"idempotent_methods: 'CONNECT'", "not CONNECT"},
      {"idempotent_methods: 'ABCDEFGHIJKLMNOPQ'", "1 to 16 letters"},
      {too_many, "expected at most 16 methods; got 17"},
  };
  for (const auto& [option, words] : cases) {
    const std::string mode = absl::StrCat("mode: FORWARDING_MODE_MESSAGE message { http1 { ",
                                          option, " } idempotent: true }");
    EXPECT_THAT(Refusal("mode: FORWARDING_MODE_TUNNEL", mode),
                AllOf(HasSubstr("service cache"), HasSubstr("message.http1.idempotent_methods"),
                      HasSubstr(words)));
  }
  EXPECT_THAT(
      Refusal("mode: FORWARDING_MODE_TUNNEL",
              "mode: FORWARDING_MODE_MESSAGE message { http1 { idempotent_methods: 'POST' } }"),
      HasSubstr("expected none, or message.idempotent: true beside them; got 1"));
}

TEST_F(RoutingTableTest, ErrorsNameServiceEndpointFieldAndValue) {
  EXPECT_THAT(
      Refusal("10.0.0.2:7073", "nowhere"),
      AllOf(HasSubstr("db"), HasSubstr("endpoint b"), HasSubstr("address"), HasSubstr("nowhere")));
  EXPECT_THAT(Refusal("weight: 1", "weight: -1.5"), AllOf(HasSubstr("db"), HasSubstr("endpoint b"),
                                                          HasSubstr("weight"), HasSubstr("-1.5")));
  EXPECT_THAT(Refusal("weight: 1", "weight: nan"),
              AllOf(HasSubstr("endpoint b"), HasSubstr("nan")));
  EXPECT_THAT(Refusal("weight: 1", "weight: inf"),
              AllOf(HasSubstr("endpoint b"), HasSubstr("inf")));
  EXPECT_THAT(Refusal("weight: 1 ", "weight: 1e308 "),
              AllOf(HasSubstr("endpoint b"), HasSubstr("weight"), HasSubstr("1e+308")));
  for (const char* value : {"nan", "inf", "-1", "1e308"}) {
    EXPECT_THAT(Refusal("capacity: 4", std::string("capacity: ") + value),
                AllOf(HasSubstr("endpoint a"), HasSubstr("capacity must be a number from 0 to")));
  }
  EXPECT_THAT(Refusal("endpoint_id: \"b\"", ""), AllOf(HasSubstr("db"), HasSubstr("endpoint_id")));
  EXPECT_THAT(Refusal("endpoint_id: \"b\"", "endpoint_id: 'a'"),
              AllOf(HasSubstr("db"), HasSubstr("endpoint a"), HasSubstr("twice")));
  EXPECT_THAT(Refusal("name: \"db\"", "name: 'cache'"),
              AllOf(HasSubstr("cache"), HasSubstr("twice")));
  EXPECT_THAT(Refusal("name: \"db\"", ""), HasSubstr("name"));
  EXPECT_THAT(Refusal("name: \"db\" mode: FORWARDING_MODE_TUNNEL", "name: 'db'"),
              AllOf(HasSubstr("db"), HasSubstr("mode"), HasSubstr("tunnel")));
  EXPECT_THAT(Refusal("0.0.0.0:5432", "unix:/x"),
              AllOf(HasSubstr("db"), HasSubstr("listener.address"), HasSubstr("unix:/x")));
  EXPECT_THAT(Refusal("0.0.0.0:5432", "0.0.0.0:6379"),
              AllOf(HasSubstr("db"), HasSubstr("cache"), HasSubstr("0.0.0.0:6379")));
}

// A limit of 0 would reset every client at once.
TEST_F(RoutingTableTest, InvalidLimitsAreRefused) {
  const std::string listener = "listener { address: \"0.0.0.0:5432\" }";
  EXPECT_THAT(Refusal(listener, listener + " limits { connect_timeout { seconds: -3 } }"),
              AllOf(HasSubstr("db"), HasSubstr("connect_timeout"), HasSubstr("-3s")));
  EXPECT_THAT(Refusal(listener, listener + " limits { idle_timeout { } }"),
              AllOf(HasSubstr("idle_timeout"), HasSubstr("0")));
  EXPECT_THAT(Refusal(listener, listener + " limits { first_byte_timeout { seconds: 99999999 } }"),
              HasSubstr("first_byte_timeout"));
}

TEST_F(RoutingTableTest, TooManyServicesAreRefused) {
  v1::Snapshot snapshot;
  for (int i = 0; i < 1001; ++i) snapshot.add_services()->set_name(std::to_string(i));
  EXPECT_TRUE(absl::IsInvalidArgument(Build(snapshot).status()));
}

TEST_F(RoutingTableTest, UnchangedSetsAreSharedWithThePreviousTable) {
  const auto first = Build(kHeld);
  v1::Snapshot changed = Snapshot(kHeld);
  changed.mutable_services(1)->mutable_endpoints(0)->set_weight(3);
  const auto second = Build(changed, first->get());
  EXPECT_EQ((*second)->services[0], (*first)->services[0]);
  EXPECT_NE((*second)->services[1], (*first)->services[1]);
  EXPECT_EQ((*second)->services[1]->endpoints[0].stats, (*first)->services[1]->endpoints[0].stats)
      << "its counters continue";
}

TEST_F(RoutingTableTest, AnyChangeMakesANewSet) {
  const auto first = Build(kHeld);
  const auto differs = [&](const std::function<void(v1::Service&)>& change) {
    v1::Snapshot snapshot = Snapshot(kHeld);
    change(*snapshot.mutable_services(1));
    const auto second = Build(snapshot, first->get());
    EXPECT_TRUE(second.ok()) << second.status();
    return (*second)->services[1] != (*first)->services[1];
  };
  EXPECT_FALSE(differs([](v1::Service&) {}));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_endpoints(0)->set_address("10.0.0.9:1"); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_endpoints(0)->set_draining(true); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_endpoints()->RemoveLast(); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_listener()->set_address(0, "0.0.0.0:1"); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_listener()->add_address("0.0.0.0:1"); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_limits()->set_max_clients(5); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.mutable_limits()->set_max_clients_per_source(5); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.set_accept_proxy_protocol(true); }));
  EXPECT_TRUE(differs([](v1::Service& s) { s.set_send_proxy_protocol(v1::PROXY_PROTOCOL_V1); }));
}

TEST_F(RoutingTableTest, ChangedHealthCheckMakesANewSet) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(1);
  service.set_mode(v1::FORWARDING_MODE_DIRECT);
  const auto unchecked = Build(snapshot);
  ASSERT_TRUE(unchecked.ok()) << unchecked.status();
  EXPECT_EQ((*unchecked)->services[1]->health_check, nullptr);
  service.mutable_health_check()->mutable_http()->set_path("/live");
  const auto checked = Build(snapshot, unchecked->get());
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_NE((*checked)->services[1], (*unchecked)->services[1]);
  const auto same = Build(snapshot, checked->get());
  EXPECT_EQ((*same)->services[1], (*checked)->services[1]);
  service.mutable_health_check()->mutable_http()->add_expected_statuses("204");
  const auto stricter = Build(snapshot, checked->get());
  ASSERT_NE((*stricter)->services[1], (*checked)->services[1]);
  EXPECT_TRUE(SameLayout(*(*stricter)->services[1], *(*checked)->services[1]));
  const HttpCheck expected = {.path = "/live", .expected = {{204, 204}}};
  EXPECT_EQ(std::get<HttpCheck>((*stricter)->services[1]->health_check->kind), expected);
}

TEST_F(RoutingTableTest, DocumentedDefaultsOfHealthChecksAreThoseInEffect) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.set_mode(v1::FORWARDING_MODE_DIRECT);
  const absl::Status parsed =
      ParseConfig(DefaultsAsYaml(*v1::HealthCheck::descriptor()) + "http:\n" +
                      DefaultsAsYaml(*v1::HttpCheck::descriptor(), "  "),
                  "check.yaml", service.mutable_health_check());
  ASSERT_TRUE(parsed.ok()) << parsed;
  const auto documented = Build(snapshot);
  ASSERT_TRUE(documented.ok()) << documented.status();
  EXPECT_EQ(*(*documented)->services[0]->health_check, HealthCheck{.kind = HttpCheck()});
}

TEST_F(RoutingTableTest, HealthCheckThatCannotBeMadeIsRefused) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  v1::Service& service = *snapshot.mutable_services(0);
  service.mutable_health_check()->mutable_tcp();
  EXPECT_THAT(Refusal(snapshot), HasSubstr("service cache: health_check: expected only with"));
  service.set_mode(v1::FORWARDING_MODE_DIRECT);
  service.mutable_health_check()->clear_kind();
  EXPECT_THAT(Refusal(snapshot), HasSubstr("expected one of tcp, http, redis; got none"))
      << "a kind that only newer controllers know";
  service.mutable_health_check()->mutable_http()->set_path("/ HTTP/1.1\r\nX: y");
  EXPECT_THAT(Refusal(snapshot), HasSubstr("health_check.http.path"));
  service.mutable_health_check()->mutable_redis();
  service.mutable_health_check()->set_rise(0);
  EXPECT_THAT(Refusal(snapshot), HasSubstr("health_check.rise: expected"));
}

TEST_F(RoutingTableTest, NameIsResolvedForEachTableAndIpAddressOnce) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_endpoints(0)->set_address("db-1.internal:7073");
  const auto first = Build(snapshot);
  EXPECT_EQ(lookups_, 2);
  const auto second = Build(snapshot, first->get());
  EXPECT_EQ(lookups_, 3);
  EXPECT_EQ((*second)->services[1], (*first)->services[1]);
  moved_ = 1;
  const auto third = Build(snapshot, first->get());
  EXPECT_NE((*third)->services[1], (*first)->services[1]) << "the name resolves to another address";
  EXPECT_NE((*third)->services[1]->layout, (*first)->services[1]->layout);
}

TEST_F(RoutingTableTest, EndpointsAreSortedById) {
  v1::Snapshot snapshot = Snapshot(kHeld);
  snapshot.mutable_services(1)->mutable_endpoints()->SwapElements(0, 1);
  const auto table = Build(snapshot);
  ASSERT_TRUE(table.ok());
  EXPECT_EQ((*table)->services[1]->endpoints[0].id, "a");
  EXPECT_EQ((*table)->services[1]->endpoints[1].id, "b");
}

TEST_F(RoutingTableTest, NewWeightsKeepTheLayoutAndOtherChangesDoNot) {
  const auto first = Build(kHeld);
  const auto layout_of = [&](const std::function<void(v1::Service&)>& change) {
    v1::Snapshot snapshot = Snapshot(kHeld);
    change(*snapshot.mutable_services(1));
    return (*Build(snapshot, first->get()))->services[1]->layout;
  };
  const uint64_t layout = (*first)->services[1]->layout;
  EXPECT_NE(layout, 0u);
  EXPECT_NE(layout, (*first)->services[0]->layout);
  EXPECT_EQ(layout_of([](v1::Service& s) { s.mutable_endpoints(0)->set_weight(9); }), layout);
  EXPECT_EQ(layout_of([](v1::Service& s) { s.mutable_endpoints(0)->set_draining(true); }), layout);
  EXPECT_NE(layout_of([](v1::Service& s) { s.mutable_endpoints()->RemoveLast(); }), layout);
  EXPECT_NE(layout_of([](v1::Service& s) { s.mutable_endpoints(0)->set_endpoint_id("0"); }),
            layout);
  EXPECT_NE(layout_of([](v1::Service& s) { s.mutable_endpoints(0)->set_address("10.0.0.9:1"); }),
            layout);
}

TEST_F(RoutingTableTest, WeightsArePreparedForPicks) {
  const auto first = Build(kHeld);
  const AliasTable& weights = *(*first)->services[1]->weights;
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights.weight(0), 2);
  EXPECT_EQ(weights.weight(1), 1);
}

TEST_F(RoutingTableTest, OnlyWeightsMovedIsFalseForAnyOtherChange) {
  const auto first = Build(kHeld);
  const auto only_weights = [&](const std::function<void(v1::Snapshot&)>& change) {
    v1::Snapshot snapshot = Snapshot(kHeld);
    change(snapshot);
    return OnlyWeightsMoved(**first, **Build(snapshot, first->get()));
  };
  const auto endpoint = [](v1::Snapshot& s) { return s.mutable_services(1)->mutable_endpoints(0); };
  EXPECT_TRUE(only_weights([](v1::Snapshot&) {}));
  EXPECT_TRUE(only_weights([&](v1::Snapshot& s) { endpoint(s)->set_weight(5); }));
  EXPECT_FALSE(only_weights([&](v1::Snapshot& s) { endpoint(s)->set_weight(0); }));
  EXPECT_FALSE(only_weights([&](v1::Snapshot& s) { endpoint(s)->set_draining(true); }));
  EXPECT_FALSE(only_weights([&](v1::Snapshot& s) { endpoint(s)->set_address("10.0.0.9:1"); }));
  EXPECT_FALSE(only_weights([](v1::Snapshot& s) { s.mutable_services()->RemoveLast(); }));
  EXPECT_FALSE(only_weights(
      [](v1::Snapshot& s) { s.mutable_services(1)->mutable_limits()->set_max_clients(7); }));
}

}  // namespace
}  // namespace trunkline
