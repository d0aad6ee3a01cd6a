// Ten thousand collectors in one thread: delivers each planned reading at its time, one short
// connection a reading.
//
// An attempt is: connect, send the frame, await the Ack, close. It fails by error, by time-out or
// by an answer other than STORED; then the reading goes to the next target after a jittered
// backoff, until it is acknowledged. The load is open: a reading is started when it is due, however
// slow the servers are, and its latency counts from then. Attempts are limited by the file
// descriptors; readings above that wait, and their latency shows it. Confined to one thread.
#pragma once

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
    // Readings due before this are sent; then the fleet waits at most `grace` for the rest.
    absl::Duration duration = absl::Seconds(30);
    absl::Duration grace = absl::Seconds(30);
    absl::Duration timeout = absl::Seconds(2);
    absl::Duration slo = absl::Milliseconds(200);
    // Attempts at once.
    size_t max_attempts = 8'000;
    // Idle connections to hold open; 0: none.
    size_t held = 0;
  };

  // `log` outlives the fleet. `on_progress` is called each second.
  CollectorFleet(Options options, AckedLog& log,
                 std::function<void(const std::string& line)> on_progress);

  // Runs the workload. True when every reading was acknowledged in time. Error: the log could not
  // be written.
  absl::StatusOr<bool> Run();
  // Sends no new readings from the next pass on; Run ends as at the end of its time. Thread-safe.
  void StopSending() { stop_sending_.store(true, std::memory_order_relaxed); }

  const DeliveryReport& report() const { return report_; }

 private:
  // One reading on its way; slots are used again.
  struct Delivery {
    PlannedReading plan;
    uint64_t payload_hash = 0;
    size_t target = 0;
    Backoff backoff;
    uint32_t attempt = 0;  // of this slot: an event or time-out of an earlier one is void
    UniqueFd fd;
    std::string out;  // what the socket has not taken of the frame
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
  absl::Duration UntilNextAlarm() const;
  void HandleEvents(absl::Duration wait);
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
  Workload workload_;
  PlannedReading upcoming_;
  SeededRandom random_;
  DeliveryReport report_;
  HeldConnections held_;
  std::vector<Delivery> slots_;
  std::vector<uint32_t> free_slots_;
  std::deque<uint32_t> waiting_;  // due, but max_attempts are under way
  std::deque<Alarm> timeouts_;    // all equally long, so in order
  std::priority_queue<Alarm, std::vector<Alarm>, std::greater<>> retries_;
  size_t attempts_ = 0;
  uint64_t deliveries_ = 0;
  absl::Time started_;
  MonotonicTime start_, end_, now_, next_tick_;
  std::atomic<bool> stop_sending_{false};
};

}  // namespace trunkline::metering
