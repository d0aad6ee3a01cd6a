// The one thread that owns the pure stages: messages in through a bounded mailbox, views and
// callbacks out.
//
// gRPC's reactions run on many threads and must not block; the stages want one writer and time in
// order. So every word from outside is posted here, applied in order, and every half second
// (tick_interval) the stages run. What queries need is an immutable ControllerView, swapped whole;
// nobody outside ever touches the registry.
//
// Reports beyond kMaxQueuedReports are dropped and counted: a report is full state, so the next one
// makes up for it. Everything else that is posted is bounded by the streams and calls that exist.
//
// Thread-safe. Callbacks run on the loop's thread and must not block; Stop() runs what is queued,
// then saves the state and joins. It must outlive all services that post to it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"
#include "controller/core/control_core.h"
#include "controller/loop/state_store.h"

namespace trunkline {

// What an agent is told.
struct AgentOrders {
  absl::Duration report_interval;
  struct Endpoint {
    EndpointKey key;
    bool draining = false;
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
  };
  std::vector<Endpoint> endpoints;
  friend bool operator==(const AgentOrders&, const AgentOrders&) = default;
};

// The loop's handle on an agent's stream.
struct AgentStreamHooks {
  std::function<void(const AgentOrders&)> direct;
  std::function<void(const absl::Status&)> end;
};

// What became of reports; any thread counts.
struct ReportCounts {
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> old_sequence{0};
  std::atomic<uint64_t> unknown_session{0};
  std::atomic<uint64_t> invalid{0};
  std::atomic<uint64_t> too_frequent{0};
  std::atomic<uint64_t> overflow{0};
};

class ControlLoop {
 public:
  // Ten seconds of reports of the largest fleet; beyond this the loop is not behind but stuck.
  static constexpr size_t kMaxQueuedReports = 100000;
  // The state file is written at most this often, and at once after an operator's word ...
  static constexpr absl::Duration kSaveInterval = absl::Seconds(1);
  // ... and this often when only learned capacities moved.
  static constexpr absl::Duration kSaveDriftInterval = absl::Seconds(10);

  struct Options {
    ControlCore::Options core;
    absl::Duration tick_interval = absl::Milliseconds(500);
    // Null: nothing survives a restart. Outlives the loop.
    const StateStore* store = nullptr;
  };
  using ViewListener = std::function<void(const std::shared_ptr<const ControllerView>&)>;
  using AdminDone = std::function<void(absl::StatusOr<SnapshotVersion>)>;

  // The first view is there when this returns; the thread starts with Start().
  explicit ControlLoop(const Options& options);
  ~ControlLoop();

  // Called on the loop's thread when the snapshot, an endpoint's state or a notice changed. Before
  // Start() only.
  void Subscribe(ViewListener listener) { listeners_.push_back(std::move(listener)); }
  // The thread runs in any case; an error says that the state file cannot be written, better now
  // than at the first drain.
  absl::Status Start();
  void Stop();

  // Agents. `hooks.end` is called when the announcement is refused or another stream replaces this
  // one.
  AgentSession NewSession() { return next_session_.fetch_add(1); }
  void Announce(AgentSession session, AnnouncedAgent agent, AgentStreamHooks hooks);
  void Report(AgentSession session, uint64_t seq, std::vector<ReportedLoad> loads);
  void Leave(AgentSession session);
  void StreamEnded(AgentSession session, bool orderly);

  // Operators. `done` gets the first snapshot in which the word holds.
  void SetDraining(EndpointKey key, bool draining, AdminDone done);
  void SetPin(EndpointKey key, std::optional<double> pin, AdminDone done);

  // A proxy says that it holds this; the epoch rises above it when it is newer than ours.
  void ProxyHolds(SnapshotVersion version);

  std::shared_ptr<const ControllerView> view() const;
  absl::Duration report_interval() const { return report_interval_; }
  ReportCounts& report_counts() { return report_counts_; }
  LatencyHistogram::Values tick_durations() const { return tick_durations_.Read(); }
  uint64_t state_write_failures() const { return state_write_failures_.Value(); }

 private:
  using Task = std::function<void()>;
  struct AgentStream {
    AgentStreamHooks hooks;
    std::optional<AgentOrders> told;
  };

  void Run();
  void Post(Task task);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !tasks_.empty() || stopping_;
  }
  void Tick(MonotonicTime now);
  void Show(MonotonicTime now);
  void DirectAgents();
  void DirectAgent(AgentSession session, AgentStream& stream);
  void EndStream(AgentSession session, const absl::Status& status);
  void FinishAdmin(const absl::Status& applied, const AdminDone& done);
  absl::Status Save(MonotonicTime now, bool orderly);
  void SaveIfDue(MonotonicTime now);

  const absl::Duration tick_interval_;
  const absl::Duration report_interval_;
  const StateStore* const store_;
  std::vector<ViewListener> listeners_;

  // Confined to the loop's thread.
  ControlCore core_;
  std::map<AgentSession, AgentStream> streams_;
  // What was applied changes who is there: the stages run before the next wait.
  bool tick_now_ = false;
  uint64_t directed_generation_ = 0;
  SnapshotVersion saved_version_;
  MonotonicTime saved_at_;
  MonotonicTime save_tried_at_;
  bool save_failing_ = false;

  std::atomic<AgentSession> next_session_{1};
  std::atomic<size_t> queued_reports_{0};
  ReportCounts report_counts_;
  LatencyHistogram tick_durations_;
  Counter state_write_failures_;

  mutable absl::Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const ControllerView> view_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace trunkline
