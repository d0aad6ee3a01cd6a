#include "dataplane/proxy_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/config/config.h"
#include "common/config/config_values.h"
#include "common/observe/log.h"
#include "common/trunk/trunk_tls.h"
#include "dataplane/data_plane.h"
#include "dataplane/log/connection_log.h"
#include "dataplane/log/connection_log_line.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/config/documented_defaults.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Reads a minimal configuration extended by `more`.
v1::ProxyConfig Read(const std::string& more) {
  v1::ProxyConfig config;
  const absl::Status parsed =
      ParseConfig("proxy_id: p\ncontroller: 10.0.0.1:7070\n" + more, "proxy.yaml", &config);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return config;
}

TEST(ProxySettingsTest, DocumentedDefaultsAreThoseInEffect) {
  const v1::ProxyConfig documented =
      Read(DefaultsAsYaml(*v1::ProxyConfig::descriptor()) + "tcp_keepalive:\n" +
           DefaultsAsYaml(*v1::TcpKeepalive::descriptor(), "  "));
  const v1::ProxyConfig unset = Read("");
  EXPECT_EQ(AdminListenOf(documented), AdminListenOf(unset));
  EXPECT_EQ(DrainTimeoutOf(documented), DrainTimeoutOf(unset));
  const DataPlane::Options written = ReadDataPlaneOptions(documented, nullptr);
  const DataPlane::Options in_effect = ReadDataPlaneOptions(unset, nullptr);
  EXPECT_EQ(written.max_clients, in_effect.max_clients);
  EXPECT_EQ(written.max_coalescing_delay, in_effect.max_coalescing_delay);
  EXPECT_EQ(written.keepalive.idle, in_effect.keepalive.idle);
  EXPECT_EQ(written.keepalive.interval, in_effect.keepalive.interval);
  EXPECT_EQ(written.keepalive.count, in_effect.keepalive.count);
  EXPECT_EQ(written.trunks.max_streams_per_trunk, in_effect.trunks.max_streams_per_trunk);
  EXPECT_EQ(written.trunks.max_trunks, in_effect.trunks.max_trunks);
  EXPECT_EQ(written.trunks.ping_after, in_effect.trunks.ping_after);
  EXPECT_EQ(written.trunks.ping_timeout, in_effect.trunks.ping_timeout);
  EXPECT_EQ(written.trunks.max_age, in_effect.trunks.max_age);
}

TEST(ProxySettingsTest, ConfiguredValuesAreRead) {
  const v1::ProxyConfig config = Read(
      "workers: 3\nmax_clients: 70\nmax_streams_per_trunk: 5\nmax_trunks_per_endpoint: 2\n"
      "ping_after: 1s\nping_timeout: 2s\ntrunk_max_age: 3m\nmax_coalescing_delay: 0s\n"
      "bind_address: 127.0.0.2\nadmin_listen: 127.0.0.1:9\ndrain_timeout: 0s\n"
      "tcp_keepalive: {idle: 0s, interval: 2s, count: 3}\n");
  EXPECT_EQ(AdminListenOf(config), "127.0.0.1:9");
  EXPECT_EQ(DrainTimeoutOf(config), absl::ZeroDuration());
  const DataPlane::Options options = ReadDataPlaneOptions(config, nullptr);
  EXPECT_EQ(options.workers, 3u);
  EXPECT_EQ(options.max_clients, 70u);
  EXPECT_EQ(options.bind_address, "127.0.0.2");
  EXPECT_EQ(options.max_coalescing_delay, absl::ZeroDuration());
  EXPECT_EQ(options.keepalive.idle, absl::ZeroDuration());
  EXPECT_EQ(options.keepalive.interval, absl::Seconds(2));
  EXPECT_EQ(options.keepalive.count, 3);
  EXPECT_EQ(options.trunks.max_streams_per_trunk, 5u);
  EXPECT_EQ(options.trunks.max_trunks, 2u);
  EXPECT_EQ(options.trunks.max_trunks_when_full, 2u) << "a configured limit is a limit";
  EXPECT_EQ(options.trunks.ping_after, absl::Seconds(1));
  EXPECT_EQ(options.trunks.ping_timeout, absl::Seconds(2));
  EXPECT_EQ(options.trunks.max_age, absl::Minutes(3));
}

TEST(ProxySettingsTest, BindAddressMayHaveBrackets) {
  const auto host = [](const std::string& text) {
    return ReadDataPlaneOptions(Read("bind_address: '" + text + "'\n"), nullptr).bind_address;
  };
  EXPECT_EQ(host("[::1]"), "::1");
  EXPECT_EQ(host("fe80::1%eth0"), "fe80::1%eth0");
  EXPECT_EQ(host(""), "");
}

TEST(ProxySettingsTest, OneAgentCanCarryTheDefaultNumberOfClients) {
  const DataPlane::Options options = ReadDataPlaneOptions(Read(""), nullptr);
  EXPECT_EQ(options.trunks.max_trunks, 4u);
  EXPECT_GE(options.trunks.max_trunks_when_full * options.trunks.max_streams_per_trunk,
            options.max_clients);
}

TEST(ProxySettingsTest, EveryFieldOfTheConnectionLogIsOneOfItsLine) {
  const auto& type = *v1::ConnectionLogConfig::Field_descriptor();
  ASSERT_EQ(type.value_count(), static_cast<int>(AllLogFields().size()) + 1);
  for (int i = 1; i < type.value_count(); ++i) {
    EXPECT_EQ(FindLogField(ShortName(*type.value(i))), AllLogFields()[i - 1]);
  }
}

TEST(ProxySettingsTest, ConnectionLogIsOffUnlessItIsConfigured) {
  EXPECT_EQ(ReadDataPlaneOptions(Read(""), nullptr).connection_log, nullptr);
  for (const std::string some : {"{}", "{sample: 0.5}"}) {
    EXPECT_NE(ReadDataPlaneOptions(Read("connection_log: " + some + "\n"), nullptr).connection_log,
              nullptr);
  }
}

TEST(ProxySettingsTest, OptionsOfTheConnectionLogAreReadOrHaveTheirDocumentedDefaults) {
  const ConnectionLog::Options unset = ReadConnectionLogOptions(Read("connection_log: {}\n"));
  const ConnectionLog::Options documented = ReadConnectionLogOptions(
      Read("connection_log:\n" + DefaultsAsYaml(*v1::ConnectionLogConfig::descriptor(), "  ")));
  for (const ConnectionLog::Options& options : {unset, documented}) {
    EXPECT_EQ(options.proxy_id, "p");
    EXPECT_EQ(options.format, LogFormat::kText);
    EXPECT_EQ(options.fields, AllLogFields());
    EXPECT_EQ(options.sample, 1);
    EXPECT_TRUE(options.errors);
    EXPECT_FALSE(options.requests);
    EXPECT_TRUE(options.services.empty());
  }
  const ConnectionLog::Options options = ReadConnectionLogOptions(
      Read("connection_log: {format: json, fields: [end, client], sample: 0.25, errors: false, "
           "services: [a, b], requests: true}\n"));
  EXPECT_EQ(options.format, LogFormat::kJson);
  EXPECT_EQ(options.fields, std::vector({LogField::kEnd, LogField::kClient}));
  EXPECT_EQ(options.sample, 0.25);
  EXPECT_FALSE(options.errors);
  EXPECT_TRUE(options.requests);
  EXPECT_EQ(options.services, std::vector<std::string>({"a", "b"}));
}

TEST(ProxySettingsTest, ConnectionLogThatCannotBeOpenedIsRefused) {
  std::shared_ptr<const TrunkTls> tls;
  EXPECT_TRUE(absl::IsInvalidArgument(
      CheckProxyConfig(Read("connection_log: {file: /nowhere/at/all}\n"), &tls)));
}

TEST(ProxySettingsTest, HotRestartWithoutASnapshotFileIsRefused) {
  std::shared_ptr<const TrunkTls> tls;
  const absl::Status refused = CheckProxyConfig(Read("handover_socket: /run/h.sock\n"), &tls);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_TRUE(
      CheckProxyConfig(Read("handover_socket: /run/h.sock\nsnapshot_file: /run/s\n"), &tls).ok());
}

TEST(ProxySettingsTest, HotRestartThroughARegularFileIsRefused) {
  const test::ScratchFolder folder;
  const std::string path = folder.Write("h.sock", "precious");
  std::shared_ptr<const TrunkTls> tls;
  const absl::Status refused =
      CheckProxyConfig(Read("handover_socket: " + path + "\nsnapshot_file: /run/s\n"), &tls);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("handover_socket: " + path), HasSubstr("regular file")));
}

}  // namespace
}  // namespace trunkline
