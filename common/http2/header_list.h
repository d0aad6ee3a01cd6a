// One header list while it is read: the few fields that the ends of a trunk act on.
//
// Plain values; externally synchronized. What else a peer may say is nobody's business here, only
// its size is counted.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trunkline {

inline constexpr std::string_view kClientField = "trunkline-client";
inline constexpr std::string_view kProxyProtocolField = "trunkline-proxy-protocol";
// Of each side; a longer list costs its stream.
inline constexpr uint32_t kMaxHeaderListBytes = 8 * 1024;

// What a CONNECT may say of its client, beside where it goes; empty: nothing. See client_fields.h.
struct ConnectFields {
  std::string client;          // trunkline-client, another one for each stream
  std::string proxy_protocol;  // trunkline-proxy-protocol, the same for many
};

struct HeaderList {
  std::string method;
  std::string authority;
  std::string path;
  ConnectFields connect;
  int status = 0;
  size_t bytes = 0;

  // Strings keep their room: most lists of a trunk are alike.
  void Clear() {
    method.clear();
    authority.clear();
    path.clear();
    connect.client.clear();
    connect.proxy_protocol.clear();
    status = 0;
    bytes = 0;
  }

  // False: the list is longer than we said we take (RFC 9113, 10.5.1); no more of it is looked at.
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
