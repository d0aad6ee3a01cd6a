// The gRPC channel to the controller, the same for agents, proxies and trunkctl, and the limits
// that both ends of it share.
//
// The channel connects in plain text and directly: the controller stands in the private network, so
// an http_proxy in the environment does not apply. A frozen or unreachable controller is detected
// within kKeepaliveTime + kKeepaliveTimeout. Thread-safe; keeps no state.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/backoff.h"

namespace trunkline {

// The largest message from the controller. A snapshot of 100,000 endpoints is about 10 MiB.
inline constexpr int kMaxControllerMessageBytes = 32 << 20;
// The largest message to the controller. A traffic report on 20,000 endpoints with the longest
// names is about 6 MB.
inline constexpr int kMaxClientMessageBytes = 8 << 20;
// Each end sends a PING after this time without data ...
inline constexpr absl::Duration kKeepaliveTime = absl::Seconds(10);
// ... and closes the connection if no answer arrives within this time.
inline constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(5);
// Delay between attempts: of the channel to connect, and of its users to open a stream again.
inline constexpr Backoff::Options kReconnectBackoff = {
    .initial = absl::Milliseconds(250), .max = absl::Seconds(10), .factor = 2.0};

// `address` is host:port. Connects when the first call is made.
std::shared_ptr<grpc::Channel> NewControllerChannel(const std::string& address);

}  // namespace trunkline
