// Connects a client to the controller, and learns why there is no connection.
//
// An attempt is a health check that does not wait for a connection, so it ends with the error of
// the connect. gRPC's own waits and reconnects follow the wall clock and would stop for the length
// of a step back; here the caller waits, by the monotonic clock, and each attempt after a failure
// gets a new channel, which connects at once. Confined to one thread, except Cancel.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "absl/time/time.h"
#include "common/grpc/reconnect_delay.h"

namespace trunkline {

class Connector {
 public:
  // An attempt that takes longer has failed.
  static constexpr absl::Duration kMaxAttempt = absl::Seconds(10);

  // `address` is host:port.
  explicit Connector(std::string address);
  ~Connector();

  // Makes one attempt. Returns OK if `channel` is connected, CANCELLED if Cancel ended the attempt,
  // else its error, UNAVAILABLE; then the caller waits for `wait` and calls again.
  grpc::Status Try();
  // Ends the attempt that runs, or else the next one before it begins. Thread-safe.
  void Cancel();
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
  // A std::mutex because ThreadSanitizer does not see inside the system's absl::Mutex.
  std::mutex mutex_;
  bool cancelled_ = false;      // guarded by mutex_
  Attempt* attempt_ = nullptr;  // the one that runs, if any; guarded by mutex_
  ReconnectDelay delay_;
  absl::Duration wait_;
};

}  // namespace trunkline
