#include "dataplane/log/connection_log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/net/ip_port.h"
#include "common/observe/log.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kAccepted = 1'000'000'000;

std::string PageText(const std::string& name) {
  std::ifstream page(TRUNKLINE_SOURCE_DIR "/docs/" + name);
  std::stringstream text;
  text << page.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

// Returns the blocks of `language` on docs/connection-log.md, in order.
std::vector<std::string> Blocks(const std::string& language) {
  const std::string page = PageText("connection-log.md");
  const std::string opening = "```" + language + "\n";
  std::vector<std::string> blocks;
  for (size_t at = page.find(opening); at != page.npos; at = page.find(opening, at)) {
    at += opening.size();
    blocks.push_back(page.substr(at, page.find("```", at) - at));
  }
  return blocks;
}

MonotonicTime AfterMicros(int64_t micros) {
  return MonotonicTime::FromNanos(kAccepted + 1000 * micros);
}

class ConnectionLogLineTest : public ::testing::Test {
 protected:
  // The connection of the documentation's example.
  ConnectionLogLineTest() {
    record_.phase = FlowRecord::Phase::kData;
    record_.addresses = {ParseIpPort("192.0.2.7:40112").value(),
                         ParseIpPort("10.0.0.2:9000").value()};
    record_.accepted_at = record_.routed_at = record_.picked_at = AfterMicros(0);
    record_.connected_at = AfterMicros(412);
    record_.first_byte_at = AfterMicros(1204);
    record_.to_server_bytes = 128;
    record_.to_client_bytes = 130;
    record_.endpoint = std::make_shared<EndpointStats>("metering", "server-1", 1);
  }
  LogEntry Entry() const {
    absl::Time time;
    std::string error;
    EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-02T03:04:05.678Z", &time, &error));
    return {.record = record_,
            .proxy_id = "proxy-1",
            .service = "metering",
            .mode = ForwardingMode::kTunnel,
            .end = "clean",
            .ended_by = FlowSide::kClient,
            .ended_at = AfterMicros(1730),
            .accepted_at = time};
  }

  FlowRecord record_;
};

TEST_F(ConnectionLogLineTest, ExamplesOfTheDocumentationAreWhatIsWritten) {
  const std::vector<std::string> text = Blocks("text");
  ASSERT_EQ(text.size(), 3u);
  EXPECT_EQ(ConnectionLogLine(Entry(), AllLogFields(), LogFormat::kText), text[0]);
  EXPECT_EQ(DroppedLinesLine(42, Entry().accepted_at, "proxy-1", LogFormat::kText), text[2]);
  EXPECT_THAT(Blocks("json"),
              ElementsAre(ConnectionLogLine(Entry(), AllLogFields(), LogFormat::kJson)));
}

TEST_F(ConnectionLogLineTest, ExampleOfARequestIsWhatIsWritten) {
  RequestRecord request;
  request.phase = RequestRecord::Phase::kData;
  request.end = RequestRecord::End::kDone;
  request.arrived_at = request.sent_at = AfterMicros(0);
  request.first_byte_at = AfterMicros(310);
  request.to_server_bytes = 24;
  request.to_client_bytes = 8;
  request.endpoint = std::make_shared<EndpointStats>("cache", "cache-2", 1);
  const ProxyAddresses client = {ParseIpPort("192.0.2.7:40112").value(),
                                 ParseIpPort("10.0.0.2:6379").value()};
  const RequestEnd end = RequestEndOf(request, FlowEnd::kClean, /*lacks_sockets=*/false);
  const FlowRecord record = AsFlowRecord(request, client);
  const LogEntry entry = {.type = LogType::kRequest,
                          .record = record,
                          .proxy_id = "proxy-1",
                          .service = "cache",
                          .mode = ForwardingMode::kMessage,
                          .end = end.name,
                          .ended_by = end.side,
                          .ended_at = AfterMicros(310),
                          .accepted_at = Entry().accepted_at};
  EXPECT_EQ(ConnectionLogLine(entry, AllLogFields(), LogFormat::kText), Blocks("text")[1]);
}

TEST_F(ConnectionLogLineTest, RequestEndsByItselfOrWithItsClient) {
  using End = RequestRecord::End;
  const struct {
    End end;
    bool timed_out;
    uint64_t to_client_bytes;
    FlowEnd client_end;
    std::string name;
    FlowSide side;
    bool failed;
  } cases[] = {
      {End::kDone, false, 1, FlowEnd::kClientReset, "clean", FlowSide::kServer, false},
      {End::kDone, false, 0, FlowEnd::kClientReset, "no_reply", FlowSide::kServer, false},
      {End::kLocal, false, 5, FlowEnd::kClientReset, "local", FlowSide::kProxy, false},
      {End::kLocal, false, 0, FlowEnd::kClean, "local", FlowSide::kProxy, false},
      {End::kTimeout, false, 9, FlowEnd::kClean, "timeout", FlowSide::kProxy, true},
      {End::kLost, false, 0, FlowEnd::kClean, "connection_lost", FlowSide::kServer, true},
      {End::kOpen, false, 0, FlowEnd::kClean, "no_reply", FlowSide::kServer, false},
      {End::kOpen, false, 3, FlowEnd::kClientReset, "client_reset", FlowSide::kClient, true},
      {End::kOpen, false, 0, FlowEnd::kConnectionLost, "connection_lost", FlowSide::kServer, true},
      {End::kOpen, true, 0, FlowEnd::kConnectionLost, "timeout", FlowSide::kProxy, true},
      {End::kOpen, false, 0, FlowEnd::kNoEndpoint, "no_endpoint", FlowSide::kProxy, true},
      {End::kOpen, false, 0, FlowEnd::kBadRequest, "bad_request", FlowSide::kProxy, true},
      {End::kOpen, false, 0, FlowEnd::kShutdown, "shutdown", FlowSide::kProxy, true},
  };
  for (const auto& item : cases) {
    RequestRecord request;
    request.end = item.end;
    request.timed_out = item.timed_out;
    request.to_client_bytes = item.to_client_bytes;
    const RequestEnd end = RequestEndOf(request, item.client_end, /*lacks_sockets=*/false);
    EXPECT_EQ(end.name, item.name) << &item - cases;
    EXPECT_EQ(end.side, item.side) << item.name;
    EXPECT_EQ(end.failed, item.failed) << item.name;
  }
}

TEST_F(ConnectionLogLineTest, EveryEndOfARequestAloneIsDocumented) {
  const std::string page = PageText("connection-log.md");
  for (const std::string name : {"no_reply", "local"}) {
    EXPECT_THAT(page, HasSubstr("| `" + name + "` |")) << name;
  }
}

TEST_F(ConnectionLogLineTest, EveryFieldHasItsRowInTheOrderOfALine) {
  const std::string page = PageText("connection-log.md");
  size_t before = page.find("## Fields");
  for (const LogField field : AllLogFields()) {
    const std::string row = absl::StrCat("\n| `", std::string(LogFieldName(field)), "` |");
    const size_t at = page.find(row, before);
    EXPECT_NE(at, page.npos) << row;
    before = at;
    EXPECT_EQ(FindLogField(LogFieldName(field)), field);
  }
  EXPECT_EQ(FindLogField("colour"), std::nullopt);
}

TEST_F(ConnectionLogLineTest, EveryEndIsDocumentedOnBothPages) {
  const std::string log = PageText("connection-log.md");
  const std::string metrics = PageText("metrics.md");
  for (int i = 1; i <= static_cast<int>(FlowEnd::kUnwatchable); ++i) {
    for (const bool lacks_sockets : {false, true}) {
      const std::string name(FlowEndName(static_cast<FlowEnd>(i), lacks_sockets));
      EXPECT_THAT(log, HasSubstr("`" + name + "`")) << i;
      EXPECT_THAT(metrics, HasSubstr("\n| `" + name + "` |")) << i;
    }
  }
}

TEST_F(ConnectionLogLineTest, SelectedFieldsAreWrittenInTheirOrder) {
  const std::vector<LogField> fields = {LogField::kEnd, LogField::kTotalMs, LogField::kClient};
  EXPECT_EQ(ConnectionLogLine(Entry(), fields, LogFormat::kText),
            "end=clean total_ms=1.730 client=192.0.2.7:40112\n");
  EXPECT_EQ(ConnectionLogLine(Entry(), fields, LogFormat::kJson),
            "{\"end\":\"clean\",\"total_ms\":1.730,\"client\":\"192.0.2.7:40112\"}\n");
}

TEST_F(ConnectionLogLineTest, WhatNeverHappenedIsADashOrNull) {
  record_ = {.accepted_at = AfterMicros(0)};
  LogEntry entry = Entry();
  entry.ended_by = FlowSide::kNone;
  const std::vector<LogField> fields = {
      LogField::kListener, LogField::kClient,      LogField::kEndpoint,
      LogField::kHeaderMs, LogField::kQueueMs,     LogField::kConnectMs,
      LogField::kRequests, LogField::kFirstByteMs, LogField::kEndedBy};
  EXPECT_EQ(ConnectionLogLine(entry, fields, LogFormat::kText),
            "listener=- client=- endpoint=- header_ms=- queue_ms=- connect_ms=- requests=- "
            "first_byte_ms=- ended_by=-\n");
  EXPECT_EQ(ConnectionLogLine(entry, {LogField::kClient, LogField::kQueueMs}, LogFormat::kJson),
            "{\"client\":null,\"queue_ms\":null}\n");
}

// Names come from files of other machines; a forged line must not be possible.
TEST_F(ConnectionLogLineTest, NamesAreEscaped) {
  const auto line = [&](const std::string& name, LogFormat format) {
    LogEntry entry = Entry();
    entry.service = name;
    return ConnectionLogLine(entry, {LogField::kService, LogField::kRetries}, format);
  };
  const struct {
    std::string name, text, json;
  } cases[] = {
      {"a b", "\"a b\"", "\"a b\""},
      {"a=b", "\"a=b\"", "\"a=b\""},
      {"a\"b\\c", R"("a\"b\\c")", R"("a\"b\\c")"},
      {"a\nend=clean", R"("a\nend=clean")", R"("a\nend=clean")"},
      {"-", "\"-\"", "\"-\""},
      {"\xff\x01", R"("\ufffd\u0001")", R"("\ufffd\u0001")"},
      {"caf\xc3\xa9", "\"caf\xc3\xa9\"", "\"caf\xc3\xa9\""},
      {"[::1]:80", "[::1]:80", "\"[::1]:80\""},
  };
  for (const auto& item : cases) {
    EXPECT_EQ(line(item.name, LogFormat::kText), "service=" + item.text + " retries=0\n");
    EXPECT_EQ(line(item.name, LogFormat::kJson), "{\"service\":" + item.json + ",\"retries\":0}\n");
  }
}

TEST_F(ConnectionLogLineTest, FirstByteIsTimedFromTheEndOfThePROXYHeader) {
  record_.header_at = AfterMicros(1000);
  EXPECT_EQ(
      ConnectionLogLine(Entry(), {LogField::kHeaderMs, LogField::kFirstByteMs}, LogFormat::kText),
      "header_ms=1.000 first_byte_ms=0.204\n");
}

TEST_F(ConnectionLogLineTest, OnlyMessageClientsHaveRequests) {
  record_.requests = 3;
  LogEntry entry = Entry();
  entry.mode = ForwardingMode::kMessage;
  EXPECT_EQ(ConnectionLogLine(entry, {LogField::kRequests}, LogFormat::kText), "requests=3\n");
}

}  // namespace
}  // namespace trunkline
