// A client, the proxy and the test as the server, for tests that hold in every mode.
#pragma once

#include <memory>
#include <string>

#include "common/proxy_protocol/proxy_header.h"
#include "dataplane/codec/delimiter.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline::test {

inline std::string NameOf(ForwardingMode mode) {
  return mode == ForwardingMode::kTunnel   ? "Tunnel"
         : mode == ForwardingMode::kDirect ? "Direct"
                                           : "Message";
}

// Returns the name of a parameterized test's instance.
inline constexpr auto kNameOfMode = [](const auto& info) { return NameOf(info.param); };

inline constexpr ForwardingMode kAllModes[] = {ForwardingMode::kTunnel, ForwardingMode::kDirect,
                                               ForwardingMode::kMessage};
// The modes that carry a client's bytes without interpreting them.
inline constexpr ForwardingMode kByteModes[] = {ForwardingMode::kTunnel, ForwardingMode::kDirect};

// `options` for a service in `mode`; in message mode requests end with a line feed.
inline Tunnel::Options InMode(ForwardingMode mode, Tunnel::Options options = {}) {
  options.adapt = [mode, adapt = options.adapt](EndpointSet& set) {
    set.mode = mode;
    set.forwarding_key = NameOf(mode);
    if (mode == ForwardingMode::kMessage) {
      auto message = std::make_shared<MessageService>();
      message->connection.codec = NewDelimiterCodec({.delimiter = "\n"}).value();
      set.message = std::move(message);
    }
    adapt(set);
  };
  return options;
}

// `options` for a service whose clients send a PROXY protocol header, or do not.
inline Tunnel::Options Introduced(bool by_header, Tunnel::Options options) {
  options.adapt = [by_header, adapt = options.adapt](EndpointSet& set) {
    set.accept_proxy_protocol = by_header;
    adapt(set);
  };
  return options;
}

// Puts `server` behind the proxy, which serves it when this returns.
inline void Serve(Tunnel& tunnel, ForwardingMode mode, const LocalServer& server) {
  if (mode == ForwardingMode::kTunnel) {
    tunnel.AddAgent(server.address());
    tunnel.Start();
  } else {
    tunnel.AddEndpoint(server.address());
    tunnel.Apply();
  }
}

// The header that another proxy would send for a client at `source`.
inline std::string HeaderFrom(const std::string& source, ProxyVersion version = ProxyVersion::kV1) {
  const IpPort from = ParseIpPort(source).value();
  const bool ipv4 = from.family == IpPort::Family::kIpv4;
  return WriteProxyHeader(
      version, {from, ParseIpPort(ipv4 ? "198.51.100.1:443" : "[2001:db8::443]:443").value()});
}

}  // namespace trunkline::test
