// Byte-exact headers after the specification's figures, every prefix of each, and invalid ones.
#include "common/proxy_protocol/proxy_header.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {
namespace {

using Family = IpPort::Family;
using namespace std::string_literals;  // clang-tidy takes a using of the suffix alone for unused

std::string Hex(std::string_view digits) {
  std::string bytes;
  std::string pair;
  for (const char digit : digits) {
    if (digit == ' ') continue;
    pair += digit;
    if (pair.size() < 2) continue;
    bytes += static_cast<char>(std::stoi(pair, nullptr, 16));
    pair.clear();
  }
  return bytes;
}

ProxyHeaderStep Read(std::string_view text) {
  return ReadProxyHeader({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

IpPort At(std::string_view text) { return ParseIpPort(text).value(); }

const std::string kSignature = Hex("0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A");

struct Golden {
  std::string header;
  std::string source;  // empty: unknown
  std::string destination;
};

const std::vector<Golden>& Goldens() {
  static const std::vector<Golden> goldens = {
      // The specification's example, 2.1.
      {"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324",
       "192.168.0.11:443"},
      // Its longest lines.
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
       "255.255.255.255:65535"},
      {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
      {"PROXY UNKNOWN\r\n", "", ""},
      {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
       "", ""},
      {"PROXY UNKNOWN \n anything \r but the two together\r\n", "", ""},
      {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"},
      {"PROXY TCP6 2001:DB8::1 ::FFFF:192.0.2.1 1 2\r\n", "[2001:db8::1]:1",
       "[::ffff:192.0.2.1]:2"},
      // TCP over IPv4: 2*4 + 2*2 bytes.
      {kSignature + Hex("21 11 00 0C  C0A80001 C0A8000B  DC04 01BB"), "192.168.0.1:56324",
       "192.168.0.11:443"},
      // TCP over IPv6: 2*16 + 2*2 bytes.
      {kSignature + Hex("21 21 00 24  20010DB8000000000000000000000001"
                        "20010DB8000000000000000000000002  DC04 01BB"),
       "[2001:db8::1]:56324", "[2001:db8::2]:443"},
      // Behind the addresses: TLVs, here a padding of two bytes and an unchecked checksum.
      {kSignature + Hex("21 11 00 18  C0A80001 C0A8000B  DC04 01BB  04 0002 0000 03 0004 00000000"),
       "192.168.0.1:56324", "192.168.0.11:443"},
      // LOCAL: the receiver ignores the family and the addresses.
      {kSignature + Hex("20 00 00 00"), "", ""},
      {kSignature + Hex("20 FF 00 03 010203"), "", ""},
      {kSignature + Hex("20 11 00 0C  C0A80001 C0A8000B  DC04 01BB"), "", ""},
      // PROXY of other transports than TCP: unspecified, datagrams, unix sockets (2*108 bytes).
      {kSignature + Hex("21 00 00 00"), "", ""},
      {kSignature + Hex("21 10 00 0C  C0A80001 C0A8000B  DC04 01BB"), "", ""},
      {kSignature + Hex("21 12 00 0C  C0A80001 C0A8000B  DC04 01BB"), "", ""},
      {kSignature + Hex("21 22 00 24") + std::string(36, 'a'), "", ""},
      {kSignature + Hex("21 31 00 D8") + std::string(216, '/'), "", ""},
      {kSignature + Hex("21 32 00 D8") + std::string(216, '/'), "", ""},
  };
  return goldens;
}

TEST(ProxyHeaderTest, HeadersOfTheSpecificationAreRead) {
  for (const Golden& golden : Goldens()) {
    SCOPED_TRACE(golden.header);
    const ProxyHeaderStep step = Read(golden.header);
    ASSERT_EQ(step.state, ProxyHeaderState::kWhole);
    EXPECT_EQ(step.size, golden.header.size());
    EXPECT_EQ(step.addresses.source.ToString(),
              golden.source.empty() ? "" : At(golden.source).ToString());
    EXPECT_EQ(step.addresses.destination.ToString(),
              golden.destination.empty() ? "" : At(golden.destination).ToString());
  }
}

TEST(ProxyHeaderTest, EveryPrefixOfAHeaderIsIncomplete) {
  for (const Golden& golden : Goldens()) {
    for (size_t size = 0; size < golden.header.size(); ++size) {
      EXPECT_EQ(Read(golden.header.substr(0, size)).state, ProxyHeaderState::kMore)
          << size << " bytes of " << golden.header;
    }
  }
}

TEST(ProxyHeaderTest, DataAfterAHeaderIsNotConsumed) {
  for (const Golden& golden : Goldens()) {
    for (const std::string& data : {"\r\n"s, "GET / HTTP/1.1\r\n"s, golden.header, "\0"s}) {
      const ProxyHeaderStep step = Read(golden.header + data);
      EXPECT_EQ(step.state, ProxyHeaderState::kWhole);
      EXPECT_EQ(step.size, golden.header.size()) << golden.header;
    }
  }
}

TEST(ProxyHeaderTest, InvalidLinesAreRefused) {
  for (const std::string& text : {
           "GET / HTTP/1.1\r\n"s,
           "\x16\x03\x01"s,  // TLS
           "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n"s,
           "PROXYTCP4"s,
           "PROXY  TCP4"s,
           "PROXY\tTCP4"s,
           "PROXY TCP5"s,
           "PROXY UDP4"s,
           "PROXY\r\n"s,
           "PROXY TCP4\r\n"s,
           "PROXY TCP4 \r\n"s,
           "PROXY UNKNOWNS"s,
           "PROXY UNKNOWN\n"s,
           "PROXY UNKNOWN\r\r\n"s,
           "PROXY TCP4 1.2.3.4\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"s,
           "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n"s,
           "PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n"s,
           "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 256.2.3.4 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"s,
           "PROXY TCP4 ::1 ::2 1 2\r\n"s,
           "PROXY TCP4 1.2.3.4 ::2 1 2\r\n"s,
           "PROXY TCP4 localhost 5.6.7.8 1 2\r\n"s,
           "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"s,
           "PROXY TCP6 :::1 ::2 1 2\r\n"s,
           "PROXY TCP6 1::2::3 ::2 1 2\r\n"s,
           "PROXY TCP6 ::12345 ::2 1 2\r\n"s,
           "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::2 1 2\r\n"s,
           "PROXY TCP6 [::1] ::2 1 2\r\n"s,
           "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n"s,
       }) {
    EXPECT_EQ(Read(text).state, ProxyHeaderState::kBroken) << text;
  }
}

TEST(ProxyHeaderTest, InvalidBinaryHeadersAreRefused) {
  for (const std::string& tail : {
           "11"s,          // version 1
           "31"s,          // version 3
           "22"s,          // an unassigned command
           "2F"s, "00"s,   //
           "21 41 0000"s,  // an unassigned family
           "21 F1 0000"s,  //
           "21 13 000C"s,  // an unassigned protocol
           "21 1F 000C"s,  //
           "21 11 000B"s,  // too short for its addresses
           "21 12 000B"s,  //
           "21 21 0023"s,  //
           "21 22 0023"s,  //
           "21 31 00D7"s,  //
           "21 11 0FF1"s,  // a byte above the limit
           "21 00 FFFF"s,  //
           "20 00 FFFF"s,  //
       }) {
    EXPECT_EQ(Read(kSignature + Hex(tail)).state, ProxyHeaderState::kBroken) << tail;
  }
  for (size_t i = 0; i < kSignature.size(); ++i) {
    std::string wrong = kSignature;
    wrong[i] = static_cast<char>(wrong[i] ^ 1);
    EXPECT_EQ(Read(wrong.substr(0, i + 1)).state, ProxyHeaderState::kBroken) << i;
  }
}

TEST(ProxyHeaderTest, LongestHeadersAreReadAndLongerOnesRefused) {
  const std::string begin = "PROXY UNKNOWN ";
  const std::string longest = begin + std::string(kMaxProxyLineBytes - 2 - begin.size(), 'x');
  EXPECT_EQ(Read(longest + "\r\n").state, ProxyHeaderState::kWhole);
  EXPECT_EQ(Read(longest + "\r").state, ProxyHeaderState::kMore);
  EXPECT_EQ(Read(longest + "x\r").state, ProxyHeaderState::kBroken);
  EXPECT_EQ(Read(longest + "x\r\n").state, ProxyHeaderState::kBroken);

  const std::string head = kSignature + Hex("21 00 0FF0");
  ASSERT_EQ(head.size() + 0x0ff0, kMaxProxyHeaderBytes);
  EXPECT_EQ(Read(head + std::string(0x0fef, 'x')).state, ProxyHeaderState::kMore);
  const ProxyHeaderStep step = Read(head + std::string(0x0ff1, 'x'));
  EXPECT_EQ(step.state, ProxyHeaderState::kWhole);
  EXPECT_EQ(step.size, kMaxProxyHeaderBytes);
}

TEST(ProxyHeaderTest, WrittenHeadersMatchTheSpecification) {
  const ProxyAddresses ipv4 = {At("192.168.0.1:56324"), At("192.168.0.11:443")};
  const ProxyAddresses ipv6 = {At("[2001:db8::1]:56324"), At("[2001:db8::2]:443")};
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV1, ipv4),
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV1, ipv6),
            "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n");
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV1, {}), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV2, ipv4),
            kSignature + Hex("21 11 00 0C  C0A80001 C0A8000B  DC04 01BB"));
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV2, ipv6),
            kSignature + Hex("21 21 00 24  20010DB8000000000000000000000001"
                             "20010DB8000000000000000000000002  DC04 01BB"));
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV2, {}), kSignature + Hex("20 00 00 00"));
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kNone, ipv4), "");
}

TEST(ProxyHeaderTest, MixedFamiliesAreWrittenAsIpv6) {
  const ProxyAddresses mixed = {At("192.0.2.1:1"), At("[2001:db8::2]:2")};
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV1, mixed),
            "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
  const ProxyHeaderStep step = Read(WriteProxyHeader(ProxyVersion::kV2, mixed));
  EXPECT_EQ(step.addresses.source.Unmapped(), mixed.source);
  EXPECT_EQ(step.addresses.destination, mixed.destination);
}

TEST(ProxyHeaderTest, PartlyKnownAddressesAreNotWritten) {
  EXPECT_EQ(WriteProxyHeader(ProxyVersion::kV1, {.source = At("192.0.2.1:1")}),
            "PROXY UNKNOWN\r\n");
}

TEST(ProxyHeaderTest, LongestLineThatWeWriteKeepsTheLimit) {
  const IpPort longest = At("[fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
  const std::string line = WriteProxyHeader(ProxyVersion::kV1, {longest, longest});
  EXPECT_LE(line.size(), kMaxProxyLineBytes);
  EXPECT_EQ(Read(line).addresses.source, longest);
}

}  // namespace
}  // namespace trunkline
