// Keeps a client's stream to the controller open: connects, runs a stream until it ends, waits, and
// begins again.
//
// Nothing polls: an attempt to connect, a stream and a wait each end by themselves or by Stop. Run
// is called by one thread, which makes all calls; Interrupt and Stop are thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/timed_condition.h"
#include "common/grpc/connector.h"

namespace trunkline {

class ReconnectLoop {
 public:
  struct Calls {
    // Blocks until the client may connect. Returns false to end the loop.
    std::function<bool()> await_turn;
    // Runs one stream and returns how it ended. After Stop it must return soon.
    std::function<grpc::Status(const std::shared_ptr<grpc::Channel>&)> run_stream;
    // An attempt to connect failed, or a stream ended.
    std::function<void(const grpc::Status&)> on_end;
  };

  // `controller` is host:port.
  ReconnectLoop(std::string controller, Calls calls);

  // Returns when `await_turn` says so, or after Stop. Call once.
  void Run();
  // The controller answers on the stream. For `run_stream`.
  void ResetDelay() { connector_.ResetDelay(); }
  // Ends the attempt to connect that runs; the next one follows when `await_turn` returns.
  void Interrupt() { connector_.Cancel(); }
  // Ends an attempt to connect and a wait. The caller unblocks the other two calls.
  void Stop();

 private:
  // Returns false after Stop.
  bool Rest(absl::Duration wait);

  const Calls calls_;
  Connector connector_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition stopped_;
};

}  // namespace trunkline
