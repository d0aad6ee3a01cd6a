// Connects a client to the controller, and learns why there is no connection.
//
// An attempt is a health check that does not wait for a connection, so it ends with the error of
// the connect. gRPC's own waits and reconnects follow the wall clock and would stop for the length
// of a step back; here the caller waits, by the monotonic clock, and each attempt after a failure
// gets a new channel, which connects at once. Confined to one thread.
#pragma once

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/grpc/reconnect_delay.h"

namespace trunkline {

class Connector {
 public:
  // An attempt that takes longer has failed.
  static constexpr absl::Duration kMaxAttempt = absl::Seconds(10);
  // Try returns after this time at the latest, so that its caller can stop.
  static constexpr absl::Duration kMaxTry = absl::Milliseconds(250);

  // `address` is host:port.
  explicit Connector(std::string address);
  ~Connector();

  // Goes on with the attempt, or starts one. Returns OK if `channel` is connected,
  // DEADLINE_EXCEEDED while the attempt runs, else its error, UNAVAILABLE. Unless it returns OK,
  // the caller waits for `wait` and calls again.
  grpc::Status Try();
  absl::Duration wait() const { return wait_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // The delay before the next stream, after one that ended.
  absl::Duration NextDelay() { return delay_.Next(); }
  // The controller answered on a stream.
  void ResetDelay() { delay_.Reset(); }
  // A stream ended after this time; after a long one, the next delays are short.
  void OnStreamEnd(absl::Duration lasted) { delay_.OnStreamEnd(lasted); }

 private:
  class Attempt;

  const std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  // Null between attempts.
  std::unique_ptr<Attempt> attempt_;
  ReconnectDelay delay_;
  absl::Duration wait_;
};

}  // namespace trunkline
