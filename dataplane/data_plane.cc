#include "dataplane/data_plane.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/http2/stream_window.h"
#include "common/net/address.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "dataplane/listen/inheritance.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/worker.h"

namespace trunkline {
namespace {

// Limits the window growth of one worker. All workers together may use a quarter of the budget,
// because peers may send as much as the windows allow at once.
int64_t WindowGrowth(const DataPlane::Options& options) {
  constexpr int64_t kPart = 4;
  if (options.memory_budget_bytes == 0) return StreamWindow::kBudgetBytes;
  const auto workers = static_cast<int64_t>(options.workers);
  return std::min(StreamWindow::kBudgetBytes, options.memory_budget_bytes / (kPart * workers));
}

}  // namespace

DataPlane::DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited)
    : options_(std::move(options)),
      stats_(stats),
      accepting_(!options_.hold),
      listeners_({.workers = options_.workers, .keepalive = options_.keepalive}, *this,
                 std::move(inherited)) {
  for (size_t i = 0; i < options_.workers; ++i) {
    const Worker::Options worker = {
        .index = i,
        .trunks = options_.trunks,
        .max_clients = options_.max_clients,
        .descriptors = options_.descriptors,
        .max_coalescing_delay = options_.max_coalescing_delay,
        .keepalive = options_.keepalive,
        .random_seed = options_.random_seed + i,
        .workers = options_.workers,
        .memory = options_.memory,
        .connection_log = options_.connection_log.get(),
        .window_growth_bytes = WindowGrowth(options_),
        .hand_over = [this](size_t to, const std::string& service,
                            UniqueFd client) { workers_[to]->Adopt(service, std::move(client)); },
        .share_health =
            [this](const std::string& service, const std::string& endpoint_id) {
              for (const auto& worker : workers_) worker->ReadHealth(service, endpoint_id);
            }};
    workers_.push_back(std::make_unique<Worker>(worker, stats_));
  }
}

DataPlane::~DataPlane() {
  // Stops all before the first is deleted, because one may be handing a client to another.
  for (const auto& worker : workers_) worker->Stop();
  if (options_.connection_log != nullptr) options_.connection_log->Flush();
}

void DataPlane::Apply(const std::shared_ptr<const RoutingTable>& table) {
  absl::MutexLock lock(&mutex_);
  for (const auto& worker : workers_) worker->Apply(table);
  ListenerSet::Addresses wanted;
  for (const auto& set : table->services) {
    std::vector<Address>& listen = wanted[set->service];
    listen = set->listen;
    if (options_.bind_address.empty()) continue;
    for (Address& address : listen) address.host = options_.bind_address;
  }
  listeners_.Want(wanted);
  MatchListeners();
}

void DataPlane::RetryListeners() {
  absl::MutexLock lock(&mutex_);
  if (!listeners_.complete()) MatchListeners();
}

void DataPlane::MatchListeners() {
  if (accepting_ && !draining_) listeners_.Match();
}

// Gives each worker one socket. A predecessor with more workers hands over more, and connections
// arrive on each of them, so all are distributed.
void DataPlane::Listen(const std::string& service, const std::string& address,
                       std::vector<UniqueFd> sockets) {
  std::vector<std::vector<UniqueFd>> parts(workers_.size());
  for (size_t i = 0; i < sockets.size(); ++i) {
    parts[i % parts.size()].push_back(std::move(sockets[i]));
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->Listen(service, address, std::move(parts[i]));
  }
}

void DataPlane::StopListening(const std::string& service, const std::string& address) {
  for (const auto& worker : workers_) worker->StopListening(service, address);
}

absl::StatusOr<ListeningSockets> DataPlane::CopySockets() const {
  absl::MutexLock lock(&mutex_);
  return listeners_.Copies();
}

bool DataPlane::UsesInherited() const {
  absl::MutexLock lock(&mutex_);
  return listeners_.UsesSockets();
}

void DataPlane::StartAccepting() {
  absl::MutexLock lock(&mutex_);
  if (accepting_) return;
  accepting_ = true;
  MatchListeners();
}

void DataPlane::StopAccepting() {
  {
    absl::MutexLock lock(&mutex_);
    if (!accepting_) return;
    accepting_ = false;
    stopped_accepting_ = MonotonicNow();
    listeners_.StopAccepting();
  }
  // A worker in mid-pass may still accept clients and hand them to another worker, so the client
  // count is final only after both have settled.
  Settle();
  Settle();
}

void DataPlane::Drain(absl::Duration timeout) {
  StopAccepting();
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    // Open copies would keep receiving connections that no worker accepts.
    listeners_.Close();
    timeout = std::max(timeout - (MonotonicNow() - stopped_accepting_), absl::ZeroDuration());
  }
  AwaitEmpty(timeout);
  if (const int64_t left = stats_.Clients(); left > 0) {
    LogWarn("{} flows did not end within drain_timeout ({}) and are reset", left,
            absl::FormatDuration(timeout));
  }
}

// Returns when no worker has a client or after `timeout`.
void DataPlane::AwaitEmpty(absl::Duration timeout) {
  // Uses standard types, because ThreadSanitizer does not see inside the system's absl::Mutex.
  struct Countdown {
    std::mutex mutex;
    std::condition_variable changed;
    size_t left = 0;  // guarded by mutex
  };
  const auto countdown = std::make_shared<Countdown>();
  countdown->left = workers_.size();
  for (const auto& worker : workers_) {
    worker->WhenEmpty([countdown] {
      const std::lock_guard lock(countdown->mutex);
      --countdown->left;
      countdown->changed.notify_one();
    });
  }
  std::unique_lock lock(countdown->mutex);
  countdown->changed.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                              [&] { return countdown->left == 0; });
}

void DataPlane::Settle() {
  const auto settled = std::make_shared<std::latch>(static_cast<ptrdiff_t>(workers_.size()));
  for (const auto& worker : workers_) worker->WhenSettled([settled] { settled->count_down(); });
  settled->wait();
}

std::map<std::string, std::vector<std::string>> DataPlane::Listening() const {
  absl::MutexLock lock(&mutex_);
  return listeners_.Bound();
}

std::string DataPlane::MissingListeners() const {
  absl::MutexLock lock(&mutex_);
  return listeners_.Missing();
}

std::string DataPlane::NotReady() const {
  std::string missing = MissingListeners();
  if (!missing.empty()) return missing;
  for (const WorkerStats& worker : stats_.workers()) {
    if (worker.memory_full.Value() > 0) return "memory is full: new clients wait";
  }
  for (const auto& listener : stats_.Listeners()) {
    for (const ListenerCell& cell : listener->cells()) {
      if (cell.unwatched.Value() == 0) continue;
      return absl::StrCat("service ", listener->service,
                          " accepts no clients on a socket that epoll cannot watch");
    }
  }
  return "";
}

std::vector<std::string> DataPlane::Faults() const {
  std::map<std::string, std::set<std::string>> full;  // endpoints by service
  for (const auto& endpoint : stats_.Endpoints()) {
    for (const EndpointCell& cell : endpoint->cells()) {
      if (cell.full.Value() > 0) full[endpoint->service].insert(endpoint->endpoint_id);
    }
  }
  std::vector<std::string> faults;
  for (const auto& listener : stats_.Listeners()) {
    const auto found = full.find(listener->service);
    if (found == full.end()) continue;
    int64_t pending = 0;
    for (const ListenerCell& cell : listener->cells()) pending += cell.pending.Value();
    if (pending == 0) continue;
    faults.push_back(absl::StrCat(
        "service ", listener->service, ": ", pending,
        " clients wait because all streams to endpoint ", absl::StrJoin(found->second, ", "),
        " are in use: raise max_trunks_per_endpoint or max_streams_per_trunk, or add endpoints"));
  }
  return faults;
}

void DataPlane::Collect(MetricsWriter& writer) const {
  if (options_.connection_log != nullptr) options_.connection_log->Collect(writer);
  absl::MutexLock lock(&mutex_);
  listeners_.Collect(writer);
}

}  // namespace trunkline
