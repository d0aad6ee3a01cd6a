#include "dataplane/control/discovery_subscriber.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/base/atomic_file.h"
#include "common/base/clock.h"
#include "common/base/version.h"
#include "common/grpc/grpc_log.h"
#include "common/grpc/reconnect_loop.h"
#include "common/net/address.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "dataplane/control/snapshot_sequence.h"
#include "dataplane/control/snapshot_wire.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "trunkline/v1/discovery.grpc.pb.h"
#include "trunkline/v1/discovery.pb.h"

namespace trunkline {
namespace {

constexpr absl::Duration kReportInterval = absl::Seconds(1);
// Weights are relaxed once per this many reports.
constexpr int kReportsPerRefresh = 5;
// Limits how long a successor waits for the addresses of endpoints that have names.
constexpr absl::Duration kNamesTimeout = absl::Seconds(5);
// Limits how long a successor without a usable saved snapshot waits for the controller.
constexpr absl::Duration kReadyTimeout = absl::Seconds(30);
// Weights change twice per second. A proxy that starts from a file this old gets current weights
// within a second of reaching its controller.
constexpr absl::Duration kSaveInterval = absl::Seconds(5);

std::string IdText(const v1::SnapshotId& id) { return absl::StrCat(id.epoch(), "/", id.version()); }

}  // namespace

// One subscription. One thread reads; writes are serialized.
class DiscoverySubscriber::Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::DiscoveryService::NewStub(channel)) {
    context_.set_wait_for_ready(true);
    // Otherwise the next call waits for a connection, and Cancel cannot interrupt it.
    context_.set_initial_metadata_corked(true);
    stream_ = stub_->Subscribe(&context_);
  }

  bool Read(v1::SubscribeResponse* response) { return stream_->Read(response); }
  bool Write(const v1::SubscribeRequest& request) {
    absl::MutexLock lock(&write_mutex_);
    return !finished_ && stream_->Write(request);
  }
  void Cancel() { context_.TryCancel(); }
  // The last call. A later Write does nothing and returns false.
  grpc::Status Finish() {
    absl::MutexLock lock(&write_mutex_);
    finished_ = true;
    return stream_->Finish();
  }

 private:
  const std::unique_ptr<v1::DiscoveryService::Stub> stub_;
  grpc::ClientContext context_;
  absl::Mutex write_mutex_;
  bool finished_ ABSL_GUARDED_BY(write_mutex_) = false;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SubscribeRequest, v1::SubscribeResponse>> stream_;
};

DiscoverySubscriber::DiscoverySubscriber(Options options, TrafficStats& stats, DataPlaneCalls calls)
    : options_(std::move(options)),
      stats_(stats),
      calls_(std::move(calls)),
      loop_(std::make_unique<ReconnectLoop>(
          options_.controller,
          ReconnectLoop::Calls{
              .await_turn = [this] { return AwaitTurn(); },
              .run_stream = [this](const auto& channel) { return RunStream(channel); },
              .on_end = [this](const auto& status) { RecordFailure(status); }})),
      failure_(options_.controller, absl::StrCat("proxy ", options_.proxy_id)),
      last_heard_(MonotonicNow()),
      traffic_(stats) {
  LogGrpcThroughOurLog();
  LoadSaved();
  reader_ = std::thread([this] { loop_->Run(); });
  ticker_ = std::thread([this] { TickLoop(); });
}

DiscoverySubscriber::~DiscoverySubscriber() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
    if (stream_ != nullptr) stream_->Cancel();
  }
  loop_->Stop();
  reader_.join();
  ticker_.join();
  SaveIfDue(/*at_once=*/true);
}

void DiscoverySubscriber::Pause() {
  absl::MutexLock lock(&mutex_);
  paused_ = true;
  loop_->Interrupt();
  if (stream_ != nullptr) stream_->Cancel();
}

void DiscoverySubscriber::Resume() {
  absl::MutexLock lock(&mutex_);
  paused_ = false;
}

bool DiscoverySubscriber::AwaitTurn() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &DiscoverySubscriber::MayRun));
  return !stopping_;
}

void DiscoverySubscriber::LoadSaved() {
  if (options_.snapshot_file.empty()) return;
  const absl::StatusOr<std::string> bytes = ReadFile(options_.snapshot_file);
  if (!bytes.ok()) {
    if (!absl::IsNotFound(bytes.status())) {
      LogWarn("saved snapshot not used, waiting for the controller's: {}",
              StdView(bytes.status().message()));
    }
    return;
  }
  v1::Snapshot snapshot;
  // An empty file parses too, as a snapshot without a version.
  const bool whole = snapshot.ParseFromString(*bytes) && snapshot.id().version() > 0;
  if (!whole) {
    LogWarn("saved snapshot {} is damaged and not used; the next snapshot overwrites it",
            options_.snapshot_file);
    return;
  }
  const std::string id = IdText(snapshot.id());
  const absl::Status taken = TakeSnapshot(std::make_shared<v1::Snapshot>(std::move(snapshot)));
  if (taken.ok()) {
    LogInfo("serving the saved snapshot {}", id);
  } else {
    LogWarn("saved snapshot {} not used, waiting for the controller's: {}", id,
            StdView(taken.message()));
  }
}

// Snapshots that change only weights are saved at intervals, because they arrive twice per second.
void DiscoverySubscriber::SaveIfDue(bool at_once) {
  if (options_.snapshot_file.empty()) return;
  // Held while the file is written, so that an older snapshot never replaces a newer one.
  absl::MutexLock save_lock(&save_mutex_);
  std::shared_ptr<const v1::Snapshot> snapshot;
  {
    absl::MutexLock lock(&mutex_);
    const bool due = at_once || unsaved_ == Unsaved::kMoreThanWeights ||
                     MonotonicNow() - saved_at_ >= kSaveInterval;
    if (unsaved_ == Unsaved::kNothing || !due || paused_) return;
    unsaved_ = Unsaved::kNothing;
    saved_at_ = MonotonicNow();
    snapshot = snapshot_;
  }
  const absl::Status saved =
      WriteFileAtomically(options_.snapshot_file, snapshot->SerializeAsString());
  if (!saved.ok())
    LogWarn("snapshot not saved, a restart serves an older one: {}", StdView(saved.message()));
}

absl::Status DiscoverySubscriber::TakeSnapshot(std::shared_ptr<const v1::Snapshot> snapshot) {
  absl::MutexLock apply_lock(&apply_mutex_);
  const auto lookup = [this](const Address& address) { return names_.Lookup(address); };
  std::vector<RefusedService> refused;
  auto table = BuildRoutingTable(*snapshot, table_.get(), lookup, stats_, &refused);
  if (!table.ok()) return table.status();
  NoteRefused(std::move(refused));
  const bool only_weights = table_ != nullptr && OnlyWeightsMoved(*table_, **table);
  PutIntoService(*std::move(table));
  // Holds both locks; otherwise a refresh in between could put the previous snapshot back into
  // service.
  absl::MutexLock lock(&mutex_);
  snapshot_ = std::move(snapshot);
  ready_ = true;
  changed_.NotifyAll();
  unsaved_ = std::max(unsaved_, only_weights ? Unsaved::kWeights : Unsaved::kMoreThanWeights);
  return absl::OkStatus();
}

void DiscoverySubscriber::NoteRefused(std::vector<RefusedService> refused) {
  std::vector<RefusedService> before;
  {
    absl::MutexLock lock(&mutex_);
    before = std::exchange(refused_, refused);
  }
  for (const RefusedService& service : refused) {
    if (std::ranges::find(before, service) != before.end()) continue;
    LogError("service {} refused, {}; other services are not affected: {}", service.service,
             service.kept ? "its former version stays in service" : "it is not in service",
             service.reason);
  }
  for (const RefusedService& service : before) {
    const auto again = std::ranges::find(refused, service.service, &RefusedService::service);
    if (again == refused.end()) LogInfo("service {} is no longer refused", service.service);
  }
}

void DiscoverySubscriber::PutIntoService(std::shared_ptr<const RoutingTable> table) {
  calls_.apply(table);
  // Workers have taken the previous table by now. This thread deletes the one before it, because
  // freeing thousands of endpoints would block a worker's loop.
  retired_table_ = std::exchange(table_, std::move(table));
}

absl::Status DiscoverySubscriber::OnResponse(v1::SubscribeResponse response) {
  std::shared_ptr<const v1::Snapshot> current;
  {
    absl::MutexLock lock(&mutex_);
    current = snapshot_;
    last_heard_ = MonotonicNow();
  }
  const bool up_to_date = response.has_up_to_date();
  absl::StatusOr<v1::Snapshot> next = NextSnapshot(*current, std::move(response));
  if (!next.ok()) return next.status();
  // Applied even though the snapshot is current: its weights may have been relaxed meanwhile.
  if (up_to_date) return TakeSnapshot(std::move(current));
  absl::Status taken = TakeSnapshot(std::make_shared<const v1::Snapshot>(*std::move(next)));
  if (taken.ok()) SaveIfDue(/*at_once=*/false);
  return taken;
}

grpc::Status DiscoverySubscriber::RunStream(const std::shared_ptr<grpc::Channel>& channel) {
  auto stream = std::make_shared<Stream>(channel);
  v1::SubscribeRequest hello;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || paused_) stream->Cancel();
    stream_ = stream;
    hello.mutable_hello()->set_proxy_id(options_.proxy_id);
    hello.mutable_hello()->set_version(kVersion);
    hello.mutable_hello()->set_workers(stats_.workers().size());
    if (snapshot_->has_id()) *hello.mutable_hello()->mutable_have() = snapshot_->id();
  }
  stream->Write(hello);
  while (true) {
    v1::SubscribeResponse response;
    if (!stream->Read(&response)) break;
    stream->Write(Acknowledge(std::move(response)));
  }
  {
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    connected_ = false;
  }
  return stream->Finish();
}

v1::SubscribeRequest DiscoverySubscriber::Acknowledge(v1::SubscribeResponse response) {
  v1::SubscribeRequest ack;
  ack.mutable_ack()->set_nonce(response.nonce());
  const absl::Status taken = OnResponse(std::move(response));
  if (!taken.ok()) {
    LogError("snapshot refused, still serving the last good one: {}", StdView(taken.message()));
    ack.mutable_ack()->set_error(std::string(taken.message()));
  }
  loop_->ResetDelay();
  absl::MutexLock lock(&mutex_);
  if (!connected_) LogInfo("subscribed to controller {}", options_.controller);
  connected_ = true;
  failure_.Clear();
  ++(taken.ok() ? acks_ : nacks_);
  refusal_ = std::string(taken.message());
  if (snapshot_->has_id()) *ack.mutable_ack()->mutable_have() = snapshot_->id();
  return ack;
}

void DiscoverySubscriber::RecordFailure(const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (stopping_ || paused_) return;
  failure_.Record(status, ready_ ? "serving the last snapshot" : "there is no snapshot to serve",
                  MonotonicNow());
}

void DiscoverySubscriber::TickLoop() {
  for (int tick = 1;; ++tick) {
    std::shared_ptr<Stream> stream;
    std::vector<RefusedService> refused;
    {
      absl::MutexLock lock(&mutex_);
      if (changed_.AwaitFor(mutex_, kReportInterval, absl::Condition(&stopping_))) return;
      if (connected_) stream = stream_;
      refused = refused_;
    }
    const std::string missing = RetryListeners();
    if (stream != nullptr) {
      v1::SubscribeRequest request;
      *request.mutable_traffic() = traffic_.Make();
      request.mutable_traffic()->set_listeners_missing(missing);
      request.mutable_traffic()->set_services_refused(RefusalText(refused));
      stream->Write(request);
    }
    SaveIfDue(/*at_once=*/false);
    if (tick % kReportsPerRefresh == 0) Reapply();
  }
}

void DiscoverySubscriber::Reapply() {
  absl::MutexLock apply_lock(&apply_mutex_);
  std::shared_ptr<const v1::Snapshot> snapshot;
  absl::Duration silence;
  {
    absl::MutexLock lock(&mutex_);
    if (!ready_) return;
    if (!connected_) silence = MonotonicNow() - last_heard_;
    snapshot = snapshot_;
  }
  if (IsRelaxed(silence)) {
    snapshot = std::make_shared<const v1::Snapshot>(RelaxedSnapshot(*snapshot, silence));
  }
  const auto lookup = [this](const Address& address) { return names_.Lookup(address); };
  std::vector<RefusedService> refused;
  auto table = BuildRoutingTable(*snapshot, table_.get(), lookup, stats_, &refused);
  if (!table.ok()) return;
  NoteRefused(std::move(refused));
  if ((*table)->services == table_->services) return;
  PutIntoService(*std::move(table));
}

std::string DiscoverySubscriber::RetryListeners() {
  absl::MutexLock apply_lock(&apply_mutex_);
  return calls_.retry_listeners();
}

bool DiscoverySubscriber::AwaitReady() {
  {
    absl::MutexLock lock(&mutex_);
    changed_.AwaitFor(mutex_, kReadyTimeout, absl::Condition(&ready_));
    if (!ready_) return false;
  }
  names_.AwaitAnswers(kNamesTimeout);
  return true;
}

std::string DiscoverySubscriber::NotReady() const {
  absl::MutexLock lock(&mutex_);
  if (ready_) return "";
  if (!refusal_.empty())
    return absl::StrCat("no snapshot yet: the last one was refused: ", refusal_);
  if (!failure_.text().empty())
    return absl::StrCat("no snapshot yet, and none is saved: ", failure_.text());
  return absl::StrCat("no snapshot yet: controller ", options_.controller,
                      " does not answer and none is saved");
}

std::vector<std::string> DiscoverySubscriber::Faults() const {
  absl::MutexLock lock(&mutex_);
  if (failure_.text().empty()) return {};
  return {failure_.text()};
}

void DiscoverySubscriber::Collect(MetricsWriter& writer) const {
  names_.Collect(writer);
  absl::MutexLock lock(&mutex_);
  writer.AddGauge("proxy_controller_connected",
                  "1 while the proxy is subscribed to a controller, else 0", {}, connected_);
  writer.AddGauge("proxy_snapshot_epoch", "Epoch of the snapshot that the proxy uses", {},
                  static_cast<double>(snapshot_->id().epoch()));
  writer.AddGauge("proxy_snapshot_version", "Version of the snapshot that the proxy uses", {},
                  static_cast<double>(snapshot_->id().version()));
  writer.AddGauge(
      "proxy_snapshot_age_seconds",
      "Time since the controller's last message in seconds; an unchanged cluster sends none", {},
      absl::ToDoubleSeconds(MonotonicNow() - last_heard_));
  writer.AddCounter(
      "proxy_snapshots_applied_total",
      "Controller messages accepted: snapshots, deltas, and notices that the snapshot is current",
      {}, static_cast<double>(acks_));
  writer.AddCounter("proxy_snapshots_rejected_total",
                    "Snapshots that the proxy could not use; it keeps the last good one", {},
                    static_cast<double>(nacks_));
  writer.AddGauge("proxy_services_refused",
                  "Services of the snapshot that the proxy cannot use; it keeps their former "
                  "versions, if it has them",
                  {}, static_cast<double>(refused_.size()));
  for (const v1::Service& service : snapshot_->services()) {
    for (const v1::Endpoint& endpoint : service.endpoints()) {
      writer.AddGauge(
          "proxy_endpoint_weight",
          "Weight of the endpoint in the last snapshot, relative to a mean of 1 in its service",
          {{"service", service.name()}, {"endpoint", endpoint.endpoint_id()}}, endpoint.weight());
    }
  }
}

}  // namespace trunkline
