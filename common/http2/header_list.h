// The fields of one header list that the ends of a trunk act on, collected while it is read.
//
// Plain values; externally synchronized. Other fields are ignored, but count toward the size.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trunkline {

inline constexpr std::string_view kClientField = "trunkline-client";
inline constexpr std::string_view kProxyProtocolField = "trunkline-proxy-protocol";
// The limit that each side announces; a longer list resets its stream.
inline constexpr uint32_t kMaxHeaderListBytes = 8 * 1024;

// Fields by which a CONNECT describes its client; see client_fields.h. Empty if absent.
struct ConnectFields {
  std::string client;          // trunkline-client, different for each stream
  std::string proxy_protocol;  // trunkline-proxy-protocol, the same for many streams
};

struct HeaderList {
  std::string method;
  std::string authority;
  std::string path;
  ConnectFields connect;
  int status = 0;
  size_t bytes = 0;

  // Strings keep their capacity: most lists of a trunk are alike.
  void Clear() {
    method.clear();
    authority.clear();
    path.clear();
    connect.client.clear();
    connect.proxy_protocol.clear();
    status = 0;
    bytes = 0;
  }

  // Returns false if the list is longer than the announced limit (RFC 9113, 10.5.1).
  bool Add(std::string_view name, std::string_view value) {
    constexpr size_t kFieldOverheadBytes = 32;  // RFC 9113, 6.5.2
    bytes += name.size() + value.size() + kFieldOverheadBytes;
    if (bytes > kMaxHeaderListBytes) return false;
    if (name == ":method") method.assign(value);
    if (name == ":authority") authority.assign(value);
    if (name == ":path") path.assign(value);
    if (name == kClientField) connect.client.assign(value);
    if (name == kProxyProtocolField) connect.proxy_protocol.assign(value);
    if (name == ":status") std::from_chars(value.data(), value.data() + value.size(), status);
    return true;
  }
};

}  // namespace trunkline
