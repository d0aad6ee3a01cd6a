// Ten thousand collectors in one thread: delivers each planned reading at its time, over one short
// connection per reading.
//
// An attempt connects, sends the frame, awaits the Ack and closes. It fails on an error, a timeout
// or an answer other than STORED; the reading then goes to the next target after a jittered
// backoff, until it is acknowledged. The load is an open loop: a reading starts when it is due,
// however slow the servers are, and its latency counts from then. File descriptors limit the
// attempts; further readings wait, which their latency shows. Confined to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "examples/metering/acked_log.h"
#include "examples/metering/delivery_report.h"
#include "examples/metering/held_connections.h"
#include "examples/metering/random_bits.h"
#include "examples/metering/workload.h"

namespace trunkline::metering {

class CollectorFleet {
 public:
  struct Options {
    std::vector<SocketAddress> targets;
    Workload::Options workload;
    // Readings due within this are sent; then the fleet waits up to `grace` for outstanding Acks.
    absl::Duration duration = absl::Seconds(30);
    absl::Duration grace = absl::Seconds(30);
    absl::Duration timeout = absl::Seconds(2);
    absl::Duration slo = absl::Milliseconds(200);
    // Attempts in flight.
    size_t max_attempts = 8'000;
    // Idle connections to hold open.
    size_t held = 0;
  };

  // `log` outlives the fleet. `on_progress` is called once per second.
  CollectorFleet(Options options, AckedLog& log,
                 std::function<void(const std::string& line)> on_progress);

  // Runs the workload. Returns whether every reading was acknowledged in time, or the error of the
  // log.
  absl::StatusOr<bool> Run();
  // Sends no further readings; Run ends as at the end of its duration. Thread-safe.
  void StopSending();

  const DeliveryReport& report() const { return report_; }

 private:
  // One reading in flight; slots are reused.
  struct Delivery {
    PlannedReading plan;
    uint64_t payload_hash = 0;
    size_t target = 0;
    Backoff backoff;
    uint32_t attempt = 0;  // of this slot: events and timeouts of earlier attempts are void
    UniqueFd fd;
    std::string out;  // bytes of the frame that the socket has not accepted yet
    std::string in;
  };
  struct Alarm {
    MonotonicTime at;
    uint32_t slot;
    uint32_t attempt;
    bool operator>(const Alarm& other) const { return at > other.at; }
  };

  void OpenHeld();
  void OnePass();
  // When the next reading, retry, timeout, held connection or progress line is due.
  MonotonicTime NextAlarm() const;
  void HandleEvents(MonotonicTime until);
  void StartDue();
  void StartWaiting();
  void RetryDue();
  void ExpireAttempts();
  void Tick();
  bool Finished();

  void Attempt(uint32_t slot);
  void Serve(uint32_t slot, uint32_t events);
  void Send(Delivery& delivery);
  void ReadAnswer(uint32_t slot);
  void TakeAnswer(uint32_t slot, std::string_view message);
  void Fail(uint32_t slot, AttemptFailure why);
  void EndAttempt(Delivery& delivery);
  uint32_t TakeSlot();

  const Options options_;
  AckedLog& log_;
  const std::function<void(const std::string&)> on_progress_;
  const UniqueFd epoll_;
  const UniqueFd wake_;  // eventfd of StopSending
  Workload workload_;
  PlannedReading upcoming_;
  SeededRandom random_;
  DeliveryReport report_;
  HeldConnections held_;
  std::vector<Delivery> slots_;
  std::vector<uint32_t> free_slots_;
  std::deque<uint32_t> waiting_;  // due while max_attempts are in flight
  std::deque<Alarm> timeouts_;    // equally long, so in order of expiry
  std::priority_queue<Alarm, std::vector<Alarm>, std::greater<>> retries_;
  size_t attempts_ = 0;
  uint64_t deliveries_ = 0;
  absl::Time started_;
  MonotonicTime start_, end_, now_, next_tick_;
  std::atomic<bool> stop_sending_{false};
};

}  // namespace trunkline::metering
