#include "common/proxy_protocol/proxy_header.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {
namespace {

using Family = IpPort::Family;

constexpr ProxyHeaderStep kNeedsMore = {.state = ProxyHeaderState::kMore};
constexpr ProxyHeaderStep kIsBroken = {.state = ProxyHeaderState::kBroken};

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kUnknownLine = "PROXY UNKNOWN\r\n";
// Any text may follow until the end of the line.
constexpr std::string_view kUnknownWords = "PROXY UNKNOWN ";

struct TextFamily {
  std::string_view begin;
  Family family;
};
constexpr TextFamily kTextFamilies[] = {{"PROXY TCP4 ", Family::kIpv4},
                                        {"PROXY TCP6 ", Family::kIpv6}};

// Version 2: signature, version and command, family and protocol, length of the rest.
constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kHeadBytes = 16;
constexpr uint8_t kVersion2 = 0x20;
constexpr uint8_t kCommandLocal = kVersion2 | 0;
constexpr uint8_t kCommandProxy = kVersion2 | 1;
constexpr uint8_t kTcpOverIpv4 = 0x11;
constexpr uint8_t kTcpOverIpv6 = 0x21;
constexpr uint8_t kLastFamily = 3;    // unix
constexpr uint8_t kLastProtocol = 2;  // datagrams
// Two addresses and, for IP, two ports; indexed by family.
constexpr size_t kAddressBytes[] = {0, 12, 36, 216};
static_assert(std::size(kAddressBytes) == kLastFamily + 1);
static_assert(kHeadBytes + kAddressBytes[kLastFamily] <= kMaxProxyHeaderBytes);
static_assert(kHeadBytes + kAddressBytes[2] <= kMaxProxyLineBytes, "what is written fits");
static_assert(kSignature.size() + 4 == kHeadBytes);

// Returns true if one is a prefix of the other: the shorter may still grow into the longer.
bool Agrees(std::string_view bytes, std::string_view with) {
  const size_t common = std::min(bytes.size(), with.size());
  return bytes.substr(0, common) == with.substr(0, common);
}

// Takes the text up to the next blank, and that blank, off the front. None if there is no blank.
std::optional<std::string_view> NextWord(std::string_view& line) {
  const size_t blank = line.find(' ');
  if (blank == line.npos) return std::nullopt;
  const std::string_view word = line.substr(0, blank);
  line.remove_prefix(blank + 1);
  return word;
}

// "SOURCE DESTINATION PORT PORT"
std::optional<ProxyAddresses> ReadAddresses(std::string_view line, Family family) {
  const std::optional<std::string_view> source = NextWord(line);
  const std::optional<std::string_view> destination = NextWord(line);
  const std::optional<std::string_view> source_port = NextWord(line);
  if (!source || !destination || !source_port) return std::nullopt;
  ProxyAddresses addresses;
  const std::optional<uint16_t> from = ParsePort(*source_port);
  const std::optional<uint16_t> to = ParsePort(line);
  if (!from || !to || !ParseIp(*source, family, &addresses.source) ||
      !ParseIp(*destination, family, &addresses.destination)) {
    return std::nullopt;
  }
  addresses.source.port = *from;
  addresses.destination.port = *to;
  return addresses;
}

ProxyHeaderStep ReadLine(std::string_view bytes) {
  const bool unknown = Agrees(bytes, kUnknownLine) || Agrees(bytes, kUnknownWords);
  const auto* const known =
      std::find_if(std::begin(kTextFamilies), std::end(kTextFamilies),
                   [&](const TextFamily& family) { return Agrees(bytes, family.begin); });
  if (!unknown && known == std::end(kTextFamilies)) return kIsBroken;
  const size_t end = bytes.substr(0, kMaxProxyLineBytes).find(kLineEnd);
  if (end == bytes.npos) return bytes.size() < kMaxProxyLineBytes ? kNeedsMore : kIsBroken;
  ProxyHeaderStep whole = {.state = ProxyHeaderState::kWhole, .size = end + kLineEnd.size()};
  if (unknown) return whole;
  const std::string_view line = bytes.substr(0, end).substr(known->begin.size());
  const std::optional<ProxyAddresses> addresses = ReadAddresses(line, known->family);
  if (!addresses) return kIsBroken;
  whole.addresses = *addresses;
  return whole;
}

uint16_t ReadNumber(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }

// Reads a block of two addresses and two ports.
ProxyAddresses ReadBlock(const uint8_t* at, Family family) {
  const size_t size = family == Family::kIpv4 ? 4 : 16;
  ProxyAddresses addresses;
  for (IpPort* to : {&addresses.source, &addresses.destination}) {
    to->family = family;
    std::memcpy(to->ip.data(), at, size);
    at += size;
  }
  addresses.source.port = ReadNumber(at);
  addresses.destination.port = ReadNumber(at + 2);
  return addresses;
}

ProxyHeaderStep ReadBinary(std::span<const uint8_t> bytes) {
  constexpr size_t kCommandAt = 12, kFamilyAt = 13, kLengthAt = 14;
  if (bytes.size() <= kCommandAt) return kNeedsMore;
  const uint8_t command = bytes[kCommandAt];
  if (command != kCommandLocal && command != kCommandProxy) return kIsBroken;
  const bool local = command == kCommandLocal;
  if (bytes.size() < kHeadBytes) return kNeedsMore;
  const size_t length = ReadNumber(&bytes[kLengthAt]);
  const uint8_t family = bytes[kFamilyAt] >> 4;
  const uint8_t protocol = bytes[kFamilyAt] & 0x0f;
  const bool allowed =
      family <= kLastFamily && protocol <= kLastProtocol && length >= kAddressBytes[family];
  // A receiver of LOCAL must ignore everything but the length.
  if (!local && !allowed) return kIsBroken;
  if (kHeadBytes + length > kMaxProxyHeaderBytes) return kIsBroken;
  if (bytes.size() < kHeadBytes + length) return kNeedsMore;
  ProxyHeaderStep whole = {.state = ProxyHeaderState::kWhole, .size = kHeadBytes + length};
  if (local) return whole;
  const uint8_t* const block = bytes.data() + kHeadBytes;
  if (bytes[kFamilyAt] == kTcpOverIpv4) whole.addresses = ReadBlock(block, Family::kIpv4);
  if (bytes[kFamilyAt] == kTcpOverIpv6) whole.addresses = ReadBlock(block, Family::kIpv6);
  return whole;
}

std::string WriteLine(const ProxyAddresses& addresses) {
  const auto& [source, destination] = addresses;
  if (!source.known()) return std::string(kUnknownLine);
  return absl::StrCat(source.family == Family::kIpv4 ? "PROXY TCP4 " : "PROXY TCP6 ",
                      source.IpText(), " ", destination.IpText(), " ", source.port, " ",
                      destination.port, "\r\n");
}

void Append(std::string& to, uint16_t number) {
  to += static_cast<char>(number >> 8);
  to += static_cast<char>(number & 0xff);
}

std::string WriteBinary(const ProxyAddresses& addresses) {
  const auto& [source, destination] = addresses;
  std::string header(kSignature);
  if (!source.known()) {
    header += static_cast<char>(kCommandLocal);
    return header.append(3, '\0');  // no family, no protocol, nothing after
  }
  const bool ipv4 = source.family == Family::kIpv4;
  header += static_cast<char>(kCommandProxy);
  header += static_cast<char>(ipv4 ? kTcpOverIpv4 : kTcpOverIpv6);
  Append(header, static_cast<uint16_t>(kAddressBytes[ipv4 ? 1 : 2]));
  for (const IpPort* address : {&source, &destination}) {
    header.append(reinterpret_cast<const char*>(address->ip.data()), ipv4 ? 4 : 16);
  }
  Append(header, source.port);
  Append(header, destination.port);
  return header;
}

// Returns both addresses in one family, or none.
ProxyAddresses Paired(const ProxyAddresses& addresses) {
  if (!addresses.source.known() || !addresses.destination.known()) return {};
  if (addresses.source.family == addresses.destination.family) return addresses;
  return {addresses.source.Mapped(), addresses.destination.Mapped()};
}

}  // namespace

ProxyHeaderStep ReadProxyHeader(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return kNeedsMore;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return Agrees(text, kSignature) ? ReadBinary(bytes) : ReadLine(text);
}

std::string WriteProxyHeader(ProxyVersion version, const ProxyAddresses& addresses) {
  switch (version) {
    case ProxyVersion::kNone:
      return "";
    case ProxyVersion::kV1:
      return WriteLine(Paired(addresses));
    case ProxyVersion::kV2:
      return WriteBinary(Paired(addresses));
  }
  return "";
}

}  // namespace trunkline
