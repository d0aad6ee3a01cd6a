// Tests that the configuration of clients' addresses reaches proxies.
#include "controller/wire/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "controller/core/service_spec.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/wire/snapshot.h"
#include "tests/common/config/documented_defaults.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<ControllerSettings> Read(const std::string& service) {
  v1::ControllerConfig config;
  const absl::Status parsed =
      ParseConfig("services:\n  - name: db\n    listen: 127.0.0.1:9000\n" + service,
                  "controller.yaml", &config);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return ReadControllerConfig(config);
}

TEST(WireConfigTest, ProxyProtocolAndSourceLimitReachProxies) {
  const auto settings = Read(
      "    mode: direct\n    accept_proxy_protocol: true\n    send_proxy_protocol: v2\n"
      "    limits: {max_clients_per_source: 20}\n");
  ASSERT_TRUE(settings.ok()) << settings.status();
  const ServiceSpec& spec = settings->services.at(0);
  auto service = std::make_shared<SnapshotService>();
  service->limits = spec.limits;
  service->proxy_protocol = spec.proxy_protocol;
  v1::Snapshot written;
  WriteSnapshot({.services = {service}}, &written);
  EXPECT_TRUE(written.services(0).accept_proxy_protocol());
  EXPECT_EQ(written.services(0).send_proxy_protocol(), v1::PROXY_PROTOCOL_V2);
  EXPECT_EQ(written.services(0).limits().max_clients_per_source(), 20u);
}

TEST(WireConfigTest, AddressesReachProxiesInTheirOrder) {
  v1::ControllerConfig config;
  ASSERT_TRUE(ParseConfig("services:\n  - {name: db, listen: [':2', \"[::]:2\", '10.0.0.1:1']}\n",
                          "controller.yaml", &config)
                  .ok());
  const auto settings = ReadControllerConfig(config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  auto service = std::make_shared<SnapshotService>();
  service->listen = settings->services.at(0).listen;
  v1::Snapshot written;
  WriteSnapshot({.services = {service}}, &written);
  EXPECT_THAT(written.services(0).listener().address(),
              ElementsAre("0.0.0.0:2", "[::]:2", "10.0.0.1:1"));
}

TEST(WireConfigTest, HealthCheckReachesProxies) {
  const auto settings =
      Read("    mode: direct\n    health_check: {http: {path: /live}, interval: 1s, fall: 5}\n");
  ASSERT_TRUE(settings.ok()) << settings.status();
  auto service = std::make_shared<SnapshotService>();
  service->health_check = settings->services.at(0).health_check;
  v1::Snapshot written;
  WriteSnapshot({.services = {service, std::make_shared<SnapshotService>()}}, &written);
  const v1::HealthCheck& check = written.services(0).health_check();
  EXPECT_EQ(check.http().path(), "/live");
  EXPECT_EQ(check.interval().seconds(), 1);
  EXPECT_EQ(check.fall(), 5u);
  EXPECT_FALSE(written.services(1).has_health_check()) << "none is configured";
}

TEST(WireConfigTest, DefaultsAreNoProxyProtocolAndNoSourceLimit) {
  const auto settings = Read("");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->services.at(0).proxy_protocol, ProxyProtocolSpec());
  EXPECT_EQ(settings->services.at(0).limits.max_clients_per_source, 0u);
}

TEST(WireConfigTest, DocumentedDefaultsAreThoseInEffect) {
  v1::ControllerConfig config;
  const absl::Status parsed =
      ParseConfig(DefaultsAsYaml(*v1::ControllerConfig::descriptor()), "controller.yaml", &config);
  ASSERT_TRUE(parsed.ok()) << parsed;
  const auto documented = ReadControllerConfig(config);
  ASSERT_TRUE(documented.ok()) << documented.status();
  const ControllerSettings in_effect = *ReadControllerConfig({});
  EXPECT_EQ(documented->grpc_listen, in_effect.grpc_listen);
  EXPECT_EQ(documented->admin_listen, in_effect.admin_listen);
  EXPECT_EQ(documented->report_interval, in_effect.report_interval);
  EXPECT_EQ(documented->tick_interval, in_effect.tick_interval);
  EXPECT_EQ(documented->slow_start, in_effect.slow_start);
  EXPECT_EQ(documented->forget_after, in_effect.forget_after);
}

TEST(WireConfigTest, DocumentedDefaultsOfAServiceAreThoseInEffect) {
  const auto documented = Read(DefaultsAsYaml(*v1::ServiceConfig::descriptor(), "    "));
  ASSERT_TRUE(documented.ok()) << documented.status();
  const auto in_effect = Read("");
  ASSERT_TRUE(in_effect.ok()) << in_effect.status();
  EXPECT_EQ(documented->services.at(0).mode, in_effect->services.at(0).mode);
  EXPECT_EQ(documented->services.at(0).policy, in_effect->services.at(0).policy);
  EXPECT_EQ(documented->services.at(0).proxy_protocol, in_effect->services.at(0).proxy_protocol);
}

TEST(WireConfigTest, SendProxyProtocolIsRefusedInMessageMode) {
  const std::string message = "    mode: message\n    message: {redis: {}}\n";
  const auto refused = Read(message + "    send_proxy_protocol: v1\n");
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("services[0].send_proxy_protocol: expected only with mode: tunnel or mode: "
                        "direct"));
  EXPECT_TRUE(Read(message + "    accept_proxy_protocol: true\n").ok());
}

}  // namespace
}  // namespace trunkline
