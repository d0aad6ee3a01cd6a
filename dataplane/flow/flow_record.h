// The connection log's facts about one client connection, noted while it lasts.
//
// A flow has a record only if the connection log may log it, so that clients cost no memory for it
// otherwise. The record passes from a flow to the one that continues for its client.
//
// Confined to its worker's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "common/base/clock.h"
#include "common/proxy_protocol/proxy_header.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

struct FlowRecord {
  // The next step of the connection. In message mode it goes from kRequest to kData and back.
  enum class Phase : uint8_t {
    kHeader,   // its PROXY protocol header is incomplete
    kRequest,  // message mode: no request is in flight
    kQueue,    // no endpoint yet
    kConnect,  // an endpoint was picked; it has not accepted the connection
    kData,     // connected; in message mode: a request is in flight
  };
  static constexpr MonotonicTime kNever = MonotonicTime::Infinite();

  bool sampled = true;  // logged however it ends; otherwise only if it ends with an error
  bool shares = false;  // message mode, without a dedicated connection
  Phase phase = Phase::kQueue;
  FlowSide closed_by = FlowSide::kNone;  // the first FIN
  uint32_t retries = 0;
  ProxyAddresses addresses;
  MonotonicTime accepted_at;
  MonotonicTime header_at = kNever;  // its PROXY protocol header was complete
  // It asked for an endpoint; the first was picked; the server accepted. A dedicated connection
  // counts anew.
  MonotonicTime routed_at = kNever;
  MonotonicTime picked_at = kNever;
  MonotonicTime connected_at = kNever;
  MonotonicTime first_byte_at = kNever;  // of the server
  uint64_t to_server_bytes = 0;          // a request that is sent again counts once
  uint64_t to_client_bytes = 0;
  uint64_t requests = 0;                          // in message mode: sent on shared connections
  std::shared_ptr<const EndpointStats> endpoint;  // the last one that was picked
  std::unique_ptr<RequestRecords> open_requests;  // null: its requests are not logged

  // Each takes effect the first time.
  void OnRouted(MonotonicTime now) { Note(&routed_at, now); }
  void OnFirstByte(MonotonicTime now) { Note(&first_byte_at, now); }
  void OnClosedBy(FlowSide side) {
    if (closed_by == FlowSide::kNone) closed_by = side;
  }

  void OnPicked(MonotonicTime now, std::shared_ptr<const EndpointStats> picked) {
    Note(&picked_at, now);
    endpoint = std::move(picked);
    phase = shares ? Phase::kData : Phase::kConnect;
  }
  void OnConnected(MonotonicTime now) {
    Note(&connected_at, now);
    phase = Phase::kData;
  }
  // The header is complete, or a request needs a dedicated connection.
  void OnReplaced(MonotonicTime now) {
    if (phase == Phase::kHeader) {
      header_at = now;
    } else {
      shares = false;
      open_requests = nullptr;  // the proxy does not know its requests any more
      routed_at = picked_at = connected_at = kNever;
    }
    phase = shares ? Phase::kRequest : Phase::kQueue;
  }

 private:
  static void Note(MonotonicTime* at, MonotonicTime now) {
    if (*at == kNever) *at = now;
  }
};

}  // namespace trunkline
