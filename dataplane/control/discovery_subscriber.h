// Subscribes to the controller's snapshots, acknowledges each with an ACK or a NACK, and reports
// traffic once per second.
//
// Keeps the last good snapshot in memory and in a file, so that the proxy starts and runs without a
// controller. A controller that is unreachable, unresponsive or sends invalid snapshots only makes
// the weights older. Endpoints' host names are resolved again every 5 s, because a restarted
// container has a new address; snapshots are applied without waiting for an answer.
//
// Owns three threads: one reads responses, one sends reports, one resolves names. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/base/timed_condition.h"
#include "common/grpc/controller_failure.h"
#include "common/observe/metrics_page.h"
#include "common/resolver/name_resolver.h"
#include "dataplane/control/snapshot_wire.h"
#include "dataplane/control/traffic_reporter.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "trunkline/v1/discovery.pb.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace trunkline {

class ReconnectLoop;

class DiscoverySubscriber {
 public:
  struct Options {
    std::string proxy_id;
    std::string controller;     // host:port
    std::string snapshot_file;  // empty: snapshots are not saved
  };
  // Calls into the data plane. Made by one thread at a time.
  struct DataPlaneCalls {
    // Puts a table into service.
    std::function<void(const std::shared_ptr<const RoutingTable>&)> apply;
    // Called once per second: opens missing listeners again. Returns the services that still lack
    // one, and why, or an empty string. The result is sent to the controller.
    std::function<std::string()> retry_listeners;
  };

  // Applies the saved snapshot, if there is one, before it returns, then subscribes. `stats`
  // outlives this.
  DiscoverySubscriber(Options options, TrafficStats& stats, DataPlaneCalls calls);
  ~DiscoverySubscriber();

  // Leaves the proxy's name and the snapshot file to another process until Resume: ends the stream,
  // and neither connects nor saves. The table stays in service, and names are still looked up.
  void Pause();
  void Resume();
  // Writes the snapshot file if a change is not in it yet: a successor reads the file. Logs an
  // error.
  void Save() { SaveIfDue(/*at_once=*/true); }

  // Waits up to 30 s until a table is in service, and up to 5 s more for the addresses of its
  // names. Returns false if there is no table by then. A successor calls this before it takes over
  // from the running proxy.
  bool AwaitReady();
  // Returns an empty string once a table is in service, otherwise why there is none.
  std::string NotReady() const;
  // Returns one sentence that says why there is no subscription, or nothing while there is one.
  std::vector<std::string> Faults() const;
  void Collect(MetricsWriter& writer) const;

 private:
  class Stream;
  // Changes that the snapshot file does not have yet.
  enum class Unsaved { kNothing, kWeights, kMoreThanWeights };

  // Subscribes once; returns how the stream ended.
  grpc::Status RunStream(const std::shared_ptr<grpc::Channel>& channel);
  // Takes a response, and returns the ACK or NACK.
  v1::SubscribeRequest Acknowledge(v1::SubscribeResponse response);
  // Records why the controller does not answer, unless the proxy stops.
  void RecordFailure(const grpc::Status& status);
  void TickLoop();
  void LoadSaved();
  void SaveIfDue(bool at_once);
  absl::Status TakeSnapshot(std::shared_ptr<const v1::Snapshot> snapshot);
  void PutIntoService(std::shared_ptr<const RoutingTable> table)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(apply_mutex_);
  absl::Status OnResponse(v1::SubscribeResponse response);
  void Reapply();
  // Logs what changed in the services that the proxy cannot use.
  void NoteRefused(std::vector<RefusedService> refused);
  std::string RetryListeners();
  // Waits while paused. Returns false if the proxy stops.
  bool AwaitTurn();
  bool MayRun() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !paused_; }

  const Options options_;
  TrafficStats& stats_;
  const DataPlaneCalls calls_;
  const std::unique_ptr<ReconnectLoop> loop_;

  // One table is put into service at a time.
  absl::Mutex apply_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::shared_ptr<const RoutingTable> table_ ABSL_GUARDED_BY(apply_mutex_);
  std::shared_ptr<const RoutingTable> retired_table_ ABSL_GUARDED_BY(apply_mutex_);
  absl::Mutex save_mutex_;  // serializes writes of the snapshot file

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  // Signals changes of `stopping_` and `ready_`. Mutable like the mutex.
  mutable TimedCondition changed_;
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  ControllerFailure failure_ ABSL_GUARDED_BY(mutex_);
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  // Why the last snapshot was refused; used until ready.
  std::string refusal_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const v1::Snapshot> snapshot_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<const v1::Snapshot>();
  Unsaved unsaved_ ABSL_GUARDED_BY(mutex_) = Unsaved::kNothing;
  MonotonicTime saved_at_ ABSL_GUARDED_BY(mutex_);
  MonotonicTime last_heard_ ABSL_GUARDED_BY(mutex_);
  uint64_t acks_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t nacks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<RefusedService> refused_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);

  TrafficReporter traffic_;  // used by the ticker thread only

  // After the fields that its thread uses: a changed address builds a new table at once.
  NameResolver names_{{.program = "proxy", .on_change = [this] { Reapply(); }}};
  std::thread reader_;
  std::thread ticker_;
};

}  // namespace trunkline
