#include "agent/agent_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/sample/cpu_meter.h"
#include "agent/sample/local_service.h"
#include "common/config/config.h"
#include "common/proxy_protocol/proxy_version.h"
#include "tests/common/config/documented_defaults.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Reads a minimal configuration extended by `more`.
absl::StatusOr<AgentSettings> Read(const std::string& more,
                                   const std::string& service = "target: unix:/run/s.sock") {
  v1::AgentConfig config;
  const std::string yaml = "agent_id: m1\ncontroller: 10.0.0.1:7070\n" + more +
                           "\nservices:\n  - service: metering\n    " + service + "\n";
  const absl::Status parsed = ParseConfig(yaml, "agent.yaml", &config);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return ReadAgentConfig(config);
}

std::string ErrorOf(const absl::StatusOr<AgentSettings>& settings) {
  EXPECT_TRUE(absl::IsInvalidArgument(settings.status())) << settings.status();
  return std::string(settings.status().message());
}

TEST(AgentSettingsTest, DefaultsAreFilledIn) {
  const auto settings = Read("");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->trunk_listen.ToString(), "127.0.0.1:7073");
  EXPECT_EQ(settings->admin_listen, "127.0.0.1:7074");
  EXPECT_EQ(settings->workers, 1u);
  EXPECT_EQ(settings->max_streams_per_trunk, 1000u);
  EXPECT_EQ(settings->drain_timeout, absl::Seconds(10));
  EXPECT_EQ(settings->connect_timeout, absl::Milliseconds(1200));
  ASSERT_EQ(settings->services.size(), 1u);
  EXPECT_EQ(settings->services[0].endpoint_id, "m1") << "the default is the agent's id";
  EXPECT_EQ(settings->services[0].port, 0) << "a unix target has no port";
  EXPECT_EQ(settings->services[0].proxy_protocol, ProxyVersion::kNone);
  EXPECT_EQ(settings->services[0].cpu.choice, CpuChoice::kAuto);
  EXPECT_EQ(settings->services[0].cpu.cgroup_root, "/sys/fs/cgroup");
}

TEST(AgentSettingsTest, DocumentedDefaultsAreThoseInEffect) {
  const auto documented = Read(
      DefaultsAsYaml(*v1::AgentConfig::descriptor()),
      "target: unix:/run/s.sock\n" + DefaultsAsYaml(*v1::AgentServiceConfig::descriptor(), "    "));
  ASSERT_TRUE(documented.ok()) << documented.status();
  const auto in_effect = Read("");
  ASSERT_TRUE(in_effect.ok()) << in_effect.status();
  EXPECT_EQ(documented->trunk_listen.ToString(), in_effect->trunk_listen.ToString());
  EXPECT_EQ(documented->admin_listen, in_effect->admin_listen);
  EXPECT_EQ(documented->workers, in_effect->workers);
  EXPECT_EQ(documented->max_streams_per_trunk, in_effect->max_streams_per_trunk);
  EXPECT_EQ(documented->drain_timeout, in_effect->drain_timeout);
  EXPECT_EQ(documented->connect_timeout, in_effect->connect_timeout);
  const LocalService& written = documented->services.at(0);
  const LocalService& unset = in_effect->services.at(0);
  EXPECT_EQ(written.cpu.choice, unset.cpu.choice);
  EXPECT_EQ(written.cpu.cgroup_root, unset.cpu.cgroup_root);
  EXPECT_EQ(written.proxy_protocol, unset.proxy_protocol);
}

TEST(AgentSettingsTest, ConfiguredValuesAreRead) {
  const auto settings = Read(
      "trunk_listen: 0.0.0.0:1\ntrunk_advertise: m1.example:1\ncgroup_root: /host\nworkers: 3\n"
      "drain_timeout: 1500ms\n",
      "target: 127.0.0.1:9000\n    endpoint_id: e\n    cpu_source: processes\n    pid: 7\n"
      "    cpu_limit_cores: 1.5\n    max_connections: 100\n    capacity_hint: 4\n"
      "    send_proxy_protocol: v2");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->trunk_advertise, "m1.example:1");
  EXPECT_EQ(settings->workers, 3u);
  EXPECT_EQ(settings->drain_timeout, absl::Milliseconds(1500));
  const LocalService& service = settings->services[0];
  EXPECT_EQ(service.endpoint_id, "e");
  EXPECT_EQ(service.proxy_protocol, ProxyVersion::kV2);
  EXPECT_EQ(service.port, 9000) << "the default is the port of the target";
  EXPECT_EQ(service.cpu.choice, CpuChoice::kProcesses);
  EXPECT_EQ(service.cpu.pid, 7);
  EXPECT_EQ(service.cpu.cgroup_root, "/host");
  EXPECT_DOUBLE_EQ(service.cpu.limit_cores, 1.5);
  EXPECT_EQ(service.max_connections, 100u);
  EXPECT_DOUBLE_EQ(service.capacity_hint, 4);
}

TEST(AgentSettingsTest, WildcardTrunkListenNeedsTrunkAdvertise) {
  EXPECT_THAT(ErrorOf(Read("trunk_listen: 0.0.0.0:7073")), HasSubstr("trunk_advertise"));
}

TEST(AgentSettingsTest, WildcardTargetIsNotAdvertised) {
  EXPECT_EQ(Read("", "target: 0.0.0.0:9000")->services[0].server_address, "");
  EXPECT_EQ(Read("", "target: 127.0.0.1:9000")->services[0].server_address, "127.0.0.1:9000");
}

TEST(AgentSettingsTest, ProcessesNeedNoNameWithAnyTarget) {
  for (const char* target : {"127.0.0.1:9", "unix:/run/s"}) {
    const auto settings = Read("", absl::StrCat("target: ", target, "\n    cpu_source: processes"));
    EXPECT_TRUE(settings.ok()) << settings.status();
  }
}

TEST(AgentSettingsTest, AllContradictionsAreReported) {
  EXPECT_THAT(ErrorOf(Read("",
                           "target: 127.0.0.1:9\n    pid: 3\n    pid_file: /x\n"
                           "  - service: metering\n    target: 127.0.0.1:9\n"
                           "  - service: two words\n    target: 127.0.0.1:9")),
              AllOf(HasSubstr("services[0].pid"), HasSubstr("services[1].service"),
                    HasSubstr("services[2].service")));
}

TEST(AgentSettingsTest, ConfigurationWithoutServicesIsRefused) {
  v1::AgentConfig config;
  config.set_agent_id("a");
  config.set_controller("h:1");
  EXPECT_THAT(ErrorOf(ReadAgentConfig(config)), HasSubstr("services: expected 1 to"));
}

}  // namespace
}  // namespace trunkline
