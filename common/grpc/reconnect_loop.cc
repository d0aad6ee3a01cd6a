#include "common/grpc/reconnect_loop.h"

#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

ReconnectLoop::ReconnectLoop(std::string controller, Calls calls)
    : calls_(std::move(calls)), connector_(std::move(controller)) {}

void ReconnectLoop::Run() {
  absl::Duration wait;
  while (Rest(wait) && calls_.await_turn()) {
    wait = absl::ZeroDuration();
    const grpc::Status connected = connector_.Try();
    if (connected.error_code() == grpc::StatusCode::CANCELLED) continue;
    if (!connected.ok()) {
      calls_.on_end(connected);
      wait = connector_.wait();
      continue;
    }
    const MonotonicTime start = MonotonicNow();
    calls_.on_end(calls_.run_stream(connector_.channel()));
    connector_.OnStreamEnd(MonotonicNow() - start);
    wait = connector_.NextDelay();
  }
}

void ReconnectLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    stopped_.NotifyAll();
  }
  connector_.Cancel();
}

bool ReconnectLoop::Rest(absl::Duration wait) {
  absl::MutexLock lock(&mutex_);
  return !stopped_.AwaitFor(mutex_, wait, absl::Condition(&stopping_));
}

}  // namespace trunkline
