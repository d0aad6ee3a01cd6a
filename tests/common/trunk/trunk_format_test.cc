// docs/trunk-format.md shows a stream byte by byte; this test reads the page and checks both ends
// against it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "common/http2/header_list.h"
#include "common/http2/http2_client_session.h"
#include "common/http2/http2_server_session.h"
#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"
#include "common/trunk/client_fields.h"
#include "common/trunk/load_offer.h"

namespace trunkline {
namespace {

using Bytes = std::vector<uint8_t>;

// The ```hex NAME blocks of the page; a comment after `;` is for the reader.
std::map<std::string, Bytes> ReadExamples() {
  std::ifstream page(TRUNKLINE_SOURCE_DIR "/docs/trunk-format.md");
  std::map<std::string, Bytes> examples;
  Bytes* current = nullptr;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("```hex ", 0) == 0) {
      current = &examples[line.substr(7)];
      continue;
    }
    if (line.rfind("```", 0) == 0) current = nullptr;
    if (current == nullptr) continue;
    std::istringstream octets(line.substr(0, line.find(';')));
    for (std::string octet; octets >> octet;) {
      current->push_back(static_cast<uint8_t>(std::stoi(octet, nullptr, 16)));
    }
  }
  return examples;
}

class TestStream : public Http2Stream {
 public:
  std::string to_send;
  bool ends = false;
  std::string received;
  int status = -1;
  bool peer_ended = false;
  bool closed = false;
  uint32_t code = 99;

  Pull PullData(uint8_t* to, size_t capacity, size_t* size) override {
    *size = std::min(capacity, to_send.size());
    std::memcpy(to, to_send.data(), *size);
    to_send.erase(0, *size);
    if (to_send.empty() && ends) return Pull::kLast;
    return *size > 0 ? Pull::kMore : Pull::kNothing;
  }
  void OnResponse(int s) override { status = s; }
  void OnData(const uint8_t* data, size_t size) override {
    received.append(reinterpret_cast<const char*>(data), size);
  }
  void OnEnd(bool) override { peer_ended = true; }
  void OnClosed(uint32_t error_code) override {
    closed = true;
    code = error_code;
  }
};

// One end of the connection that the page shows.
template <typename Session>
class End : public Http2ServerSession::Listener {
 public:
  static constexpr bool kIsAgent = std::is_same_v<Session, Http2ServerSession>;
  End() : session({.max_streams = 1000, .extension = LoadOffer(kIsAgent)}, this, &output) {}

  // Returns the pending output and removes it.
  Bytes Written() {
    session.Produce(1 << 20);
    Bytes bytes(output.data(), output.data() + output.size());
    output.Consume(output.size());
    return bytes;
  }
  void Read(const Bytes& bytes) {
    ASSERT_TRUE(session.Receive(bytes.data(), bytes.size(), MonotonicTime()).ok());
  }

  Http2Stream* OnConnect(std::string_view authority, int*) override {
    asked_for = authority;
    if constexpr (kIsAgent) asked_with.push_back(session.connect_fields());
    return streams_given++ == 0 ? &stream : &second_stream;
  }
  Http2Stream* OnGet(std::string_view path, int*) override {
    return path == kLoadPath ? &load_stream : nullptr;
  }
  void OnGoAway(int32_t) override {}
  void OnSettings(uint32_t) override {}
  void OnOutputWanted() override {}

  OutputBuffer output;
  TestStream stream;
  TestStream second_stream;
  TestStream load_stream;
  size_t streams_given = 0;
  std::string asked_for;
  std::vector<ConnectFields> asked_with;
  Session session;
};
using Proxy = End<Http2ClientSession>;
using Agent = End<Http2ServerSession>;

TEST(TrunkFormat, ProxyWritesTheDocumentedBytes) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Proxy proxy;
  EXPECT_EQ(proxy.Written(), examples["proxy preface"]);
  proxy.stream.to_send = "hello";
  ASSERT_TRUE(proxy.session.Connect("metering:9000", &proxy.stream).ok());
  EXPECT_EQ(proxy.Written(), examples["proxy opens"]);
}

IpPort At(std::string_view text) { return ParseIpPort(text).value(); }

ConnectFields FieldsOf(std::string_view client) {
  return DescribeClient({ProxyVersion::kV2, {At(client), At("198.51.100.1:9000")}});
}

TEST(TrunkFormat, ProxyWritesTheDocumentedClientFields) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Proxy proxy;
  proxy.Written();
  ASSERT_TRUE(
      proxy.session.Connect("metering:9000", &proxy.stream, FieldsOf("192.0.2.1:50000")).ok());
  ASSERT_TRUE(
      proxy.session.Connect("metering:9000", &proxy.second_stream, FieldsOf("192.0.2.2:50001"))
          .ok());
  EXPECT_EQ(proxy.Written(), examples["proxy opens with addresses"]);
}

TEST(TrunkFormat, AgentReadsTheDocumentedClientFields) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Agent agent;
  agent.Read(examples["proxy preface"]);
  agent.Read(examples["proxy opens with addresses"]);
  ASSERT_EQ(agent.asked_with.size(), 2u);
  const ClientDescription first = ReadClient(agent.asked_with[0]);
  const ClientDescription second = ReadClient(agent.asked_with[1]);
  EXPECT_EQ(first.version, ProxyVersion::kV2);
  EXPECT_EQ(first.addresses.source, At("192.0.2.1:50000"));
  EXPECT_EQ(first.addresses.destination, At("198.51.100.1:9000"));
  EXPECT_EQ(second.addresses.source, At("192.0.2.2:50001"));
  EXPECT_EQ(second.addresses.destination, At("198.51.100.1:9000"));
}

TEST(TrunkFormat, AgentReadsTheDocumentedBytesAndAnswers) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Agent agent;
  EXPECT_EQ(agent.Written(), examples["agent preface"]);
  agent.Read(examples["proxy preface"]);
  agent.Read(examples["proxy opens"]);
  EXPECT_EQ(agent.asked_for, "metering:9000");
  EXPECT_EQ(agent.asked_with[0].client, "");
  EXPECT_EQ(agent.asked_with[0].proxy_protocol, "");
  EXPECT_EQ(agent.stream.received, "hello");
  agent.Written();  // the acknowledgement of the settings
  agent.stream.to_send = "world";
  agent.stream.ends = true;
  agent.session.Respond(&agent.stream, 200);
  EXPECT_EQ(agent.Written(), examples["agent answers"]);
}

TEST(TrunkFormat, ProxyRequestsLoadAsDocumented) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Proxy proxy;
  proxy.Written();
  proxy.Read(examples["agent preface"]);
  EXPECT_TRUE(PeerOffersLoad(proxy.session));
  proxy.Written();  // the acknowledgement of the settings
  ASSERT_TRUE(AskForLoad(proxy.session, &proxy.load_stream).ok());
  EXPECT_EQ(proxy.Written(), examples["proxy requests load"]);
  proxy.Read(examples["agent reports load"]);
  EXPECT_EQ(proxy.load_stream.status, 200);
  std::span<const uint8_t> bytes(
      reinterpret_cast<const uint8_t*>(proxy.load_stream.received.data()),
      proxy.load_stream.received.size());
  InbandReportReader reader;
  InbandReport word;
  ASSERT_TRUE(reader.Next(bytes, &word));
  EXPECT_EQ(word.service, "metering");
  EXPECT_EQ(word.load, (ServerLoad{.active = 17, .utilization = 523}));
}

TEST(TrunkFormat, AgentSendsLoadAsDocumented) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Agent agent;
  agent.Read(examples["proxy preface"]);
  agent.Written();
  agent.Read(examples["proxy requests load"]);
  uint8_t line[kMaxLoadLineBytes];
  const size_t size = WriteInbandReport({"metering", {.active = 17, .utilization = 523}}, line);
  agent.load_stream.to_send.assign(reinterpret_cast<const char*>(line), size);
  agent.session.Respond(&agent.load_stream, 200);
  EXPECT_EQ(agent.Written(), examples["agent reports load"]);
}

TEST(TrunkFormat, FinsAndResetMatchTheDocumentedBytes) {
  std::map<std::string, Bytes> examples = ReadExamples();
  Agent agent;
  agent.Read(examples["proxy preface"]);
  agent.Read(examples["proxy opens"]);
  agent.Read(examples["proxy ends"]);
  EXPECT_TRUE(agent.stream.peer_ended);
  EXPECT_FALSE(agent.stream.closed);

  Agent other;
  other.Read(examples["proxy preface"]);
  other.Read(examples["proxy opens"]);
  other.Read(examples["proxy resets"]);
  EXPECT_TRUE(other.stream.closed);
  EXPECT_EQ(other.stream.code, static_cast<uint32_t>(NGHTTP2_CONNECT_ERROR));
}

}  // namespace
}  // namespace trunkline
