// Tests that configuration files may be written as operators write them elsewhere, and that errors
// name the cause where they may not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/config/config.h"
#include "common/config/durations.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class YamlTextTest : public ::testing::Test {
 protected:
  absl::Status Parse(const std::string& yaml) { return ParseConfig(yaml, "c.yaml", &config_); }
  std::string Error(const std::string& yaml) {
    const absl::Status status = Parse(yaml);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << yaml;
    return std::string(status.message());
  }
  const v1::ServiceConfig& service(int i) { return config_.services(i); }

  v1::ControllerConfig config_;
};

TEST_F(YamlTextTest, RootKeysThatBeginWithXAreIgnored) {
  EXPECT_TRUE(Parse("x-common: {any: [thing]}\nslow_start: 5s\n").ok());
  EXPECT_THAT(Error("services:\n  - {name: a, listen: 'h:1', x-note: 1}\n"),
              HasSubstr("services[0].x-note: unknown field"));
}

TEST_F(YamlTextTest, MergeKeysAreFilledIn) {
  const absl::Status parsed = Parse(R"(
x-base: &base {mode: direct, policy: static}
x-other: &other {policy: round_robin, accept_proxy_protocol: true}
services:
  - {name: a, listen: 'h:1', <<: *base}
  - {<<: *base, name: b, listen: 'h:2', policy: adaptive}
  - {name: c, listen: 'h:3', <<: [*base, *other]}
)");
  ASSERT_TRUE(parsed.ok()) << parsed;
  EXPECT_EQ(service(0).mode(), v1::FORWARDING_MODE_DIRECT);
  EXPECT_EQ(service(0).policy(), v1::BALANCING_POLICY_STATIC);
  EXPECT_EQ(service(1).mode(), v1::FORWARDING_MODE_DIRECT);
  EXPECT_EQ(service(1).policy(), v1::BALANCING_POLICY_ADAPTIVE) << "the map's own keys win";
  EXPECT_EQ(service(2).policy(), v1::BALANCING_POLICY_STATIC) << "the first map wins";
  EXPECT_TRUE(service(2).accept_proxy_protocol());
}

TEST_F(YamlTextTest, WrongMergeKeysAreReported) {
  EXPECT_THAT(Error("services:\n  - {name: a, listen: 'h:1', <<: 5}\n"),
              StartsWith("c.yaml:2: merge key \"<<\": expected a map or a list of maps"));
  EXPECT_THAT(Error("x-a: &a\n  log: {level: info}\nlog: {<<: [5]}\n"),
              HasSubstr("expected a list of maps only"));
  EXPECT_THAT(Error("log: {level: info, level: warn}\n"), HasSubstr("given twice"));
}

TEST_F(YamlTextTest, MapThatMergesItselfEnds) { EXPECT_FALSE(Parse("log: &a\n  <<: *a\n").ok()); }

TEST_F(YamlTextTest, WildcardsOfOtherServersAreAddresses) {
  ASSERT_TRUE(Parse("grpc_listen: :7070\nadmin_listen: '*:7071'\n").ok());
  EXPECT_EQ(config_.grpc_listen(), "0.0.0.0:7070");
  EXPECT_EQ(config_.admin_listen(), "0.0.0.0:7071");
}

TEST_F(YamlTextTest, AddressThatNeedsQuotationMarksIsNamed) {
  for (const char* address : {"[::]:9000", "[fe80::1]:9000", "*:9000"}) {
    for (const bool flow : {false, true}) {
      const std::string listen = std::string("listen: ") + address;
      const std::string yaml =
          "services:\n  - " + (flow ? "{name: a, " + listen + "}\n" : listen + "\n    name: a\n");
      const std::string error = Error(yaml);
      EXPECT_THAT(error, StartsWith("c.yaml:2: ")) << yaml;
      EXPECT_THAT(error, HasSubstr("quotation marks: \"")) << yaml;
    }
  }
  EXPECT_TRUE(Parse("grpc_listen: '[::]:9000'\n").ok());
}

TEST_F(YamlTextTest, VariablesAreRefusedWithARemedy) {
  const std::string error = Error("state_file: ${STATE_DIR}/state\n");
  EXPECT_THAT(error, HasSubstr("c.yaml:1: state_file: expected a value"));
  EXPECT_THAT(error, HasSubstr("replace ${STATE_DIR} before the start, for example with envsubst"));
  EXPECT_THAT(Error("slow_start: ${S}\n"), HasSubstr("environment variables are not replaced"));
  EXPECT_TRUE(Parse("state_file: /a$b/{c}/${}\n").ok());
}

TEST_F(YamlTextTest, DaysAndShortSizesAreUnderstood) {
  ASSERT_TRUE(Parse("forget_after: 1d\n").ok());
  EXPECT_EQ(ReadDuration(config_.forget_after()), absl::Hours(24));
  v1::ProxyConfig proxy;
  ASSERT_TRUE(
      ParseConfig("proxy_id: p\ncontroller: h:1\nmemory_budget_bytes: 64m\n", "p", &proxy).ok());
  EXPECT_EQ(proxy.memory_budget_bytes(), 64u << 20);
}

}  // namespace
}  // namespace trunkline
