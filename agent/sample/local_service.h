// One server beside the agent, as the configuration describes it: the value that sampling, load
// reports and trunks share. Plain values.
#pragma once

#include <cstdint>
#include <string>

#include "agent/sample/cpu_meter.h"
#include "common/net/address.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {

struct LocalService {
  std::string name;
  std::string endpoint_id;
  // Where trunk streams to the service are connected.
  Address target;
  // The TCP port whose connections are counted; 0 if there is none.
  uint16_t port = 0;
  // PROXY protocol version of every connection to `target`; kNone leaves the choice to the proxy.
  ProxyVersion proxy_protocol = ProxyVersion::kNone;
  // Relative capacity as the operator states it; 0 if not stated.
  double capacity_hint = 0;
  // host:port at which proxies reach the server without the agent; empty if they cannot.
  std::string server_address;
  // Connections that count as full utilization; 0 for no limit.
  uint32_t max_connections = 0;
  CpuMeterOptions cpu;

  // Returns true if trunk streams are among the connections of `port`, so that their bytes must not
  // be counted twice.
  bool streams_use_port() const { return !target.is_unix() && target.port == port; }
};

}  // namespace trunkline
