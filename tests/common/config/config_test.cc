#include "common/config/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/config/config_test_message.pb.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using test::Everything;
using testing::HasSubstr;

Everything Parsed(const std::string& yaml) {
  Everything message;
  const absl::Status status = ParseConfig(yaml, "test.yaml", &message);
  EXPECT_TRUE(status.ok()) << status;
  return message;
}

void ExpectMessage(const google::protobuf::Message& actual, const std::string& expected_text) {
  std::unique_ptr<google::protobuf::Message> expected(actual.New());
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(expected_text, expected.get()));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(actual, *expected))
      << actual.DebugString();
}

TEST(ConfigTest, EveryScalarTypeIsRead) {
  ExpectMessage(Parsed(R"(
text: some words
flag: True
small_signed: -2147483648
large_signed: -9223372036854775808
small_unsigned: 4294967295
large_unsigned: 18446744073709551615
single: 0.5
share: 1
speed: very_fast
timeout: 1m30s
buffer_bytes: 64KiB
address: "[::1]:80"
)"),
                R"(
text: "some words" flag: true small_signed: -2147483648 large_signed: -9223372036854775808
small_unsigned: 4294967295 large_unsigned: 18446744073709551615 single: 0.5 share: 1
speed: SPEED_VERY_FAST timeout { seconds: 90 } buffer_bytes: 65536 address: "[::1]:80")");
}

TEST(ConfigTest, DurationsKeepNanoseconds) {
  ExpectMessage(Parsed("timeout: 1500ms\nwaits: [0, 1ns, 1h]\nunbounded_wait: 100000h\n"),
                R"(timeout { seconds: 1 nanos: 500000000 }
                   waits {} waits { nanos: 1 } waits { seconds: 3600 }
                   unbounded_wait { seconds: 360000000 })");
}

TEST(ConfigTest, ListsOfScalarsAreRead) {
  ExpectMessage(Parsed("ports: [1, 65535]\nspeeds:\n- slow\n- SPEED_VERY_FAST\n"
                       "shares: [0.5, 2]\nflags: [true, false]\n"),
                R"(ports: 1 ports: 65535 speeds: SPEED_SLOW speeds: SPEED_VERY_FAST
                   shares: 0.5 shares: 2 flags: true flags: false)");
}

TEST(ConfigTest, ListOfOneScalarMayBeWrittenAsThatScalar) {
  ExpectMessage(Parsed("ports: 80\nspeeds: slow\nwaits: 3s\nshares: 0.5\nflags: true\n"
                       "services:\n- {name: n, listen: 'a:1', tags: x}\n"),
                R"(ports: 80 speeds: SPEED_SLOW waits { seconds: 3 } shares: 0.5 flags: true
                   services { name: "n" listen: "a:1" tags: "x" })");
}

TEST(ConfigTest, WildcardsOfOtherServersAreAddressesInListsToo) {
  ExpectMessage(Parsed("places: {listen: [':1', '*:2', \"[::]:3\"]}\n"),
                "places { listen: '0.0.0.0:1' listen: '0.0.0.0:2' listen: '[::]:3' }");
  ExpectMessage(Parsed("places: {listen: ':1'}\n"), "places { listen: '0.0.0.0:1' }");
}

TEST(ConfigTest, ScalarThatIsTakenForAListMayBeAnAnchor) {
  ExpectMessage(Parsed("text: &port 80\nports: *port\n"), "text: '80' ports: 80");
}

TEST(ConfigTest, NestedMessagesAndMapsAreRead) {
  ExpectMessage(Parsed(R"(
nested: {name: n, listen: "a:1"}
services:
  - name: first
    listen: 0.0.0.0:9000
    tags: [x, y]
  - {name: second, listen: "unix:/run/s", weight: 64}
labels:
  zone: a
  "odd key": "1"
by_name:
  one: {name: o, listen: "h:2"}
by_port:
  80: true
)"),
                R"(
nested { name: "n" listen: "a:1" }
services { name: "first" listen: "0.0.0.0:9000" tags: "x" tags: "y" }
services { name: "second" listen: "unix:/run/s" weight: 64 }
labels { key: "zone" value: "a" } labels { key: "odd key" value: "1" }
by_name { key: "one" value { name: "o" listen: "h:2" } }
by_port { key: 80 value: true })");
}

TEST(ConfigTest, EmptyListAndMapAreAccepted) {
  ExpectMessage(Parsed("services: []\nlabels: {}\n"), "");
}

TEST(ConfigTest, TextThatLooksLikeSomethingElseIsText) {
  EXPECT_EQ(Parsed("text: 12\n").text(), "12");
  EXPECT_EQ(Parsed("text: \"true\"\n").text(), "true");
  EXPECT_EQ(Parsed("text: ''\n").text(), "");
  EXPECT_EQ(Parsed("text: grüße\n").text(), "grüße");
}

TEST(ConfigTest, AnchorsStandForTheirValue) {
  ExpectMessage(Parsed("nested: &n {name: n, listen: \"a:1\"}\nservices: [*n, *n]\n"),
                R"(nested { name: "n" listen: "a:1" } services { name: "n" listen: "a:1" }
                   services { name: "n" listen: "a:1" })");
}

TEST(ConfigTest, CommentsAndWindowsLineEndsAreAccepted) {
  EXPECT_EQ(Parsed("# a comment\r\n\r\ntext: x # another\r\n\t\r\n").text(), "x");
}

TEST(ConfigTest, PreviousContentIsReplaced) {
  Everything message;
  message.set_text("old");
  message.add_ports(1);
  ASSERT_TRUE(ParseConfig("flag: true\n", "t", &message).ok());
  ExpectMessage(message, "flag: true");
}

TEST(ConfigTest, WrongFileLeavesTheMessageEmpty) {
  Everything message;
  ASSERT_FALSE(ParseConfig("text: x\nflag: maybe\n", "t", &message).ok());
  ExpectMessage(message, "");
}

TEST(ConfigTest, TextThatStandsForBytesKeepsControlCharacters) {
  EXPECT_EQ(Parsed("separator: \"\\r\\n\\0\\x03\"\n").separator(), std::string("\r\n\0\x03", 4));
}

// Each codec as an operator writes it.
TEST(ConfigTest, RealMessageServicesAreRead) {
  v1::ControllerConfig config;
  const absl::Status status = ParseConfig(R"(
services:
  - {name: lines, listen: "0.0.0.0:1", mode: message, message: {delimiter: {delimiter: "\r\n"}, greeting: one_message}}
  - {name: records, listen: "0.0.0.0:2", mode: message, message: {delimiter: {delimiter: "\0", shared_prefixes: [a, "b\0"]}}}
  - {name: frames, listen: "0.0.0.0:3", mode: message, message: {length_field: {length: 4, adjustment: -4}}}
  - {name: plc, listen: "0.0.0.0:4", mode: message, message: {modbus_tcp: {}, max_connections: 2}}
  - {name: cache, listen: "0.0.0.0:5", mode: message, message: {memcached: {}, idempotent: true}}
)",
                                          "controller.yaml", &config);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(config.services_size(), 5);
  EXPECT_EQ(config.services(0).message().delimiter().delimiter(), "\r\n");
  EXPECT_EQ(config.services(0).message().greeting(), v1::GREETING_ONE_MESSAGE);
  EXPECT_EQ(config.services(1).message().greeting(), v1::GREETING_UNSPECIFIED);
  EXPECT_EQ(config.services(1).message().delimiter().delimiter(), std::string(1, '\0'));
  EXPECT_EQ(config.services(1).message().delimiter().shared_prefixes(1), std::string("b\0", 2));
  EXPECT_EQ(config.services(2).message().length_field().adjustment(), -4);
  EXPECT_TRUE(config.services(3).message().has_modbus_tcp());
  EXPECT_TRUE(config.services(4).message().has_memcached());
}

TEST(ConfigTest, RealControllerConfigurationIsRead) {
  v1::ControllerConfig config;
  const absl::Status status = ParseConfig(R"(
grpc_listen: 127.0.0.1:7070
state_file: /var/lib/trunkline/state
report_interval: 1s
log: {format: json, level: warn}
services:
  - name: metering
    listen: 0.0.0.0:9000
    mode: tunnel
    policy: adaptive
    limits: {connect_timeout: 3s, idle_timeout: 1h, max_clients: 10000}
    endpoints:
      - {endpoint_id: m1, weight: 2.5}
)",
                                          "controller.yaml", &config);
  ASSERT_TRUE(status.ok()) << status;
  ExpectMessage(config, R"(
grpc_listen: "127.0.0.1:7070" state_file: "/var/lib/trunkline/state" report_interval { seconds: 1 }
log { format: FORMAT_JSON level: LEVEL_WARN }
services {
  name: "metering" listen: "0.0.0.0:9000" mode: FORWARDING_MODE_TUNNEL policy: BALANCING_POLICY_ADAPTIVE
  limits { connect_timeout { seconds: 3 } idle_timeout { seconds: 3600 } max_clients: 10000 }
  endpoints { endpoint_id: "m1" weight: 2.5 }
})");
}

TEST(ConfigFileTest, FileIsReadAndItsPathIsInErrors) {
  test::ScratchFolder folder;
  Everything message;
  EXPECT_TRUE(LoadConfigFile(folder.Write("a.yaml", "text: x\n"), &message).ok());
  EXPECT_EQ(message.text(), "x");
  const std::string path = folder.Write("b.yaml", "txt: x\n");
  const absl::Status status = LoadConfigFile(path, &message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), path + ":1: txt: unknown field; did you mean \"text\"?");
}

TEST(ConfigFileTest, MissingFileIsNotFound) {
  Everything message;
  const absl::Status status = LoadConfigFile("/nonexistent/x.yaml", &message);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/x.yaml"));
}

TEST(ConfigFileTest, UnreadableFileIsPermissionDenied) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads everything";
  test::ScratchFolder folder;
  const std::string path = folder.Write("a.yaml", "text: x\n");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  Everything message;
  EXPECT_EQ(LoadConfigFile(path, &message).code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace trunkline
