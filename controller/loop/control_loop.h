// Runs the pure stages on one thread.
//
// gRPC calls back on many threads, which must not block; the stages need one writer and ordered
// time. So every call from outside becomes a task of this loop, which applies the tasks in order
// and runs the stages every tick_interval, and sooner after a change of endpoints (TickSchedule).
// Queries read an immutable ControllerView, which the loop replaces as a whole.
//
// The loop drops and counts reports beyond kMaxQueuedReports; a report is full state, so the next
// one replaces it. The number of live streams and calls bounds the other tasks.
//
// Thread-safe. Callbacks run on the loop's thread and must not block. Stop() runs the queued tasks,
// saves the state and joins the thread. The loop must outlive the services that use it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"
#include "common/base/timed_condition.h"
#include "controller/core/control_core.h"
#include "controller/core/proxy_table.h"
#include "controller/core/weight_history.h"
#include "controller/loop/state_store.h"
#include "controller/loop/tick_schedule.h"

namespace trunkline {

// Directions to an agent.
struct AgentOrders {
  absl::Duration report_interval;
  struct Endpoint {
    EndpointKey key;
    bool draining = false;
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
  };
  std::vector<Endpoint> endpoints;
  // The endpoints that the agent announced and does not hold.
  std::vector<EndpointRegistry::Refused> refused;
  friend bool operator==(const AgentOrders&, const AgentOrders&) = default;
};

// Callbacks to an agent's stream.
struct AgentStreamHooks {
  std::function<void(const AgentOrders&)> direct;
  std::function<void(const absl::Status&)> end;
};

// Load reports by result. Any thread may count.
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
  // Ten seconds of traffic reports of the largest fleet.
  static constexpr size_t kMaxQueuedTraffic = 10 * ProxyTable::kMaxProxies;
  // Ten seconds of reports of the largest fleet. A longer queue means that the loop is stuck.
  static constexpr size_t kMaxQueuedReports = 100000;
  // Reports wait this long for others, because to wake the loop costs more than to apply one.
  static constexpr absl::Duration kReportBatching = absl::Milliseconds(10);
  // The loop writes the state file at most this often, and at once after an operator's order ...
  static constexpr absl::Duration kSaveInterval = absl::Seconds(1);
  // ... this many times as seldom as a write takes if only weights changed, because weights of
  // thousands of endpoints change all the time; and this often if not even those changed.
  static constexpr int kSaveShare = 20;
  static constexpr absl::Duration kSaveDriftInterval = absl::Seconds(10);

  struct Options {
    ControlCore::Options core;
    absl::Duration tick_interval = absl::Milliseconds(500);
    // Null if there is no state file. Must outlive the loop.
    const StateStore* store = nullptr;
    // Written into the state file.
    std::string cluster_id;
  };
  using ViewListener = std::function<void(const std::shared_ptr<const ControllerView>&)>;
  using AdminDone = std::function<void(absl::StatusOr<SnapshotVersion>)>;

  // Creates the first view; Start() starts the thread.
  explicit ControlLoop(const Options& options);
  ~ControlLoop();

  // The loop calls `listener` on its thread when the snapshot, an endpoint's state or a notice has
  // changed, or the controller has settled. Call before Start().
  void Subscribe(ViewListener listener) { listeners_.push_back(std::move(listener)); }
  // Starts the thread and writes the state file. Returns an error if it cannot write, so that the
  // operator learns of it before the first drain; the thread runs nevertheless, and the loop
  // refuses orders until it can write.
  absl::Status Start();
  void Stop();

  // For agents' streams. The loop calls `hooks.end` if it refuses the announcement or another
  // stream replaces this one.
  AgentSession NewSession() { return next_session_.fetch_add(1); }
  void Announce(AgentSession session, AnnouncedAgent agent, AgentStreamHooks hooks);
  void Report(AgentSession session, uint64_t seq, std::vector<ReportedLoad> loads);
  void Leave(AgentSession session);
  void StreamEnded(AgentSession session, bool orderly);

  // For operators. `done` gets the first snapshot that contains the order. An order that cannot be
  // written to the state file changes nothing; `done` gets FAILED_PRECONDITION.
  void SetDraining(EndpointKey key, bool draining, AdminDone done);
  void SetPin(EndpointKey key, std::optional<double> pin, AdminDone done);

  struct Forgotten {
    size_t endpoints = 0;
    // The first snapshot without them.
    SnapshotVersion version;
  };
  // For operators: EndpointRegistry::Forget. Refuses as the orders do if the state file cannot be
  // written.
  void Forget(std::string service, std::string endpoint_id,
              std::function<void(absl::StatusOr<Forgotten>)> done);

  // Puts new services and intervals into service. What was learned, drains and pins stay, as in a
  // restart, and agents announce themselves again. `done` gets the first snapshot.
  void Reload(const Options& options, AdminDone done);

  // For proxies: what one has seen of endpoints that the controller knows. Dropped if the loop is
  // kMaxQueuedTraffic behind.
  void Traffic(ProxyTraffic traffic);
  // For a proxy that holds `version`. If that is newer than the controller's, the loop publishes in
  // an epoch above it.
  void ProxyHolds(SnapshotVersion version);

  std::shared_ptr<const ControllerView> view() const;
  // Returns what `read` returns for the history of the last hour. The loop cannot add a point
  // meanwhile, so `read` must be short.
  template <typename Read>
  auto ReadHistory(const Read& read) const {
    absl::MutexLock lock(&history_mutex_);
    return read(history_);
  }
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
  // The same for a report, which may wait for kReportBatching.
  void PostReport(Task task);
  // Waits until there are tasks or a tick is due. Returns the tasks.
  std::deque<Task> AwaitTasks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !tasks_.empty() || urgent_; }
  void Tick(MonotonicTime now);
  void Show(MonotonicTime now);
  void DirectAgents();
  void DirectAgent(AgentSession session, AgentStream& stream);
  void EndStream(AgentSession session, const absl::Status& status);
  // Ends the streams of agents that lost an endpoint, so that they announce themselves again.
  void EndDisplaced();
  // Applies `change` to the administrative state of `key`, saves it, then publishes it. `what` is
  // for the log: "drain db/a".
  void Order(const EndpointKey& key, const std::string& what,
             const std::function<absl::Status()>& change, const AdminDone& done);
  absl::Status Save(MonotonicTime now, bool orderly);
  void SaveIfDue(MonotonicTime now);

  const StateStore* const store_;
  const std::string cluster_id_;
  std::vector<ViewListener> listeners_;

  // Confined to the loop's thread.
  TickSchedule schedule_;
  absl::Duration report_interval_;
  // Always set; a reload replaces it.
  std::optional<ControlCore> core_;
  std::map<AgentSession, AgentStream> streams_;
  uint64_t ticked_generation_ = 0;
  uint64_t directed_generation_ = 0;
  SnapshotVersion saved_version_;
  MonotonicTime saved_at_;
  MonotonicTime save_tried_at_;
  absl::Duration save_took_;
  uint64_t saved_generation_ = 0;
  bool save_failing_ = false;

  std::atomic<AgentSession> next_session_{1};
  std::atomic<size_t> queued_reports_{0};
  std::atomic<size_t> queued_traffic_{0};
  ReportCounts report_counts_;
  LatencyHistogram tick_durations_;
  Counter state_write_failures_;

  mutable absl::Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  // A task may not wait for others, or the loop stops.
  bool urgent_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition work_;
  std::shared_ptr<const ControllerView> view_ ABSL_GUARDED_BY(mutex_);
  mutable absl::Mutex history_mutex_;
  WeightHistory history_ ABSL_GUARDED_BY(history_mutex_);
  std::thread thread_;
};

}  // namespace trunkline
