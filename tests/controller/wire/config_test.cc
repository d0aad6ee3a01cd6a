// Tests that the configuration of clients' addresses reaches proxies.
#include "controller/wire/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/config/config_schema.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/wire/snapshot.h"

namespace trunkline {
namespace {

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

TEST(WireConfigTest, DefaultsAreNoProxyProtocolAndNoSourceLimit) {
  const auto settings = Read("");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->services.at(0).proxy_protocol, ProxyProtocolSpec());
  EXPECT_EQ(settings->services.at(0).limits.max_clients_per_source, 0u);
}

// The top-level fields of `type` that have a default, as YAML.
std::string DefaultsAsYaml(const google::protobuf::Descriptor& type) {
  std::string yaml;
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string& value = RuleOf(*type.field(i)).default_value();
    if (!value.empty()) absl::StrAppend(&yaml, type.field(i)->name(), ": ", value, "\n");
  }
  return yaml;
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
