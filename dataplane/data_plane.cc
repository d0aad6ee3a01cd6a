#include "dataplane/data_plane.h"

#include <algorithm>
#include <condition_variable>
#include <latch>
#include <memory>
#include <mutex>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/config_rules.h"
#include "common/observe/log.h"

namespace trunkline {
namespace {

// Key of a listener's sockets for a handover: a successor with the same configuration makes the
// same one.
std::string SocketKey(const std::string& service, const Address& wanted) {
  return absl::StrCat(service, " ", wanted.ToString());
}

// Splits a key of SocketKey.
std::pair<std::string, absl::StatusOr<Address>> ReadSocketKey(const std::string& key) {
  const size_t space = key.rfind(' ');
  return {key.substr(0, space), ParseAddress(std::string_view(key).substr(space + 1))};
}

// Limits the window growth of one worker. All workers together may use a quarter of the budget,
// because peers may send as much as the windows allow at once.
int64_t WindowGrowth(const DataPlane::Options& options) {
  constexpr int64_t kPart = 4;
  if (options.memory_budget_bytes == 0) return StreamWindow::kBudgetBytes;
  const auto workers = static_cast<int64_t>(options.workers);
  return std::min(StreamWindow::kBudgetBytes, options.memory_budget_bytes / (kPart * workers));
}

absl::StatusOr<std::vector<UniqueFd>> Copies(const std::vector<UniqueFd>& sockets) {
  std::vector<UniqueFd> copies;
  for (const UniqueFd& socket : sockets) {
    absl::StatusOr<UniqueFd> copy = CopyOf(socket);
    if (!copy.ok()) return copy.status();
    copies.push_back(*std::move(copy));
  }
  return copies;
}

std::string BoundText(const Address& wanted, const std::vector<UniqueFd>& sockets) {
  return WithPort(wanted.ToString(), BoundPort(sockets.front().get()));
}

// Returns true if some client's connect reaches both addresses.
bool Overlap(const std::string& host, uint16_t port, const Address& address) {
  return port == address.port &&
         (host == address.host || IsWildcardHost(host) || IsWildcardHost(address.host));
}

}  // namespace

uint16_t DataPlane::OpenListener::port() const {
  return sockets.empty() ? 0 : static_cast<uint16_t>(BoundPort(sockets.front().get()));
}

DataPlane::DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited)
    : options_(std::move(options)), stats_(stats), accepting_(!options_.hold) {
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
  absl::MutexLock lock(&mutex_);
  while (!inherited.empty()) {
    auto entry = inherited.extract(inherited.begin());
    const auto [service, wanted] = ReadSocketKey(entry.key());
    if (!wanted.ok() || entry.mapped().empty()) continue;
    std::string bound = BoundText(*wanted, entry.mapped());
    listeners_[service] = {
        .wanted = *wanted, .bound = std::move(bound), .sockets = std::move(entry.mapped())};
  }
}

DataPlane::~DataPlane() {
  // Stops all before the first is deleted, because one may be handing a client to another.
  for (const auto& worker : workers_) worker->Stop();
  if (options_.connection_log != nullptr) options_.connection_log->Flush();
}

Address DataPlane::BindAddress(const EndpointSet& set) const {
  Address address = set.listen;
  if (!options_.bind_address.empty()) address.host = options_.bind_address;
  return address;
}

void DataPlane::Apply(const std::shared_ptr<const RoutingTable>& table) {
  absl::MutexLock lock(&mutex_);
  for (const auto& worker : workers_) worker->Apply(table);
  asked_.clear();
  for (const auto& set : table->services) asked_[set->service] = BindAddress(*set);
  MatchListeners();
}

void DataPlane::RetryListeners() {
  absl::MutexLock lock(&mutex_);
  if (!missing_.empty()) MatchListeners();
}

// Closes the sockets that remain in `before`: clients must not wait in the accept queue of a
// service that no longer exists.
void DataPlane::MatchListeners() {
  if (draining_ || !accepting_) return;
  Listeners before = std::exchange(listeners_, {});
  KeepListeners(before);
  PassListeners(before);
  std::map<std::string, std::string> missing = OpenListeners(before);
  for (const auto& [service, open] : listeners_) {
    if (open.served) continue;
    missing[service] =
        absl::StrCat("service ", service, " accepts no clients: ", open.why_unserved);
  }
  for (const auto& [service, why] : missing) {
    if (!missing_.contains(service)) LogWarn("{}; trying again every second", why);
  }
  for (const auto& [service, why] : missing_) {
    if (listeners_.contains(service) && !missing.contains(service)) {
      LogInfo("service {} listens at its configured address again", service);
    }
  }
  missing_ = std::move(missing);
}

void DataPlane::KeepListeners(Listeners& before) {
  for (const auto& [service, address] : asked_) {
    const auto found = before.find(service);
    if (found == before.end() || found->second.wanted != address) continue;
    Hold(service, std::move(before.extract(found).mapped()));
  }
}

// A service that takes over an address, for example after a rename, gets the socket with the
// clients that wait in its accept queue.
void DataPlane::PassListeners(Listeners& before) {
  for (const auto& [service, address] : asked_) {
    if (listeners_.contains(service) || address.port == 0) continue;
    const auto found = std::find_if(
        before.begin(), before.end(),
        [wanted = address.ToString()](const auto& entry) { return entry.second.bound == wanted; });
    if (found == before.end()) continue;
    OpenListener open = std::move(before.extract(found).mapped());
    open.wanted = address;
    open.served = false;
    Hold(service, std::move(open));
  }
}

// Opens missing listeners. Returns the services whose listener cannot be opened, and why.
std::map<std::string, std::string> DataPlane::OpenListeners(Listeners& before) {
  std::set<uint16_t> leaving;
  for (const auto& [service, open] : before) leaving.insert(open.port());
  for (const auto& [service, open] : listeners_) leaving.erase(open.port());
  std::map<std::string, std::string> missing;
  Listeners kept;
  for (const auto& [service, address] : asked_) {
    if (listeners_.contains(service)) continue;
    // The plain bind detects other programs, but our own socket would make it fail as well.
    auto sockets = leaving.contains(address.port) ? ListenBesideOwn(address, workers_.size())
                                                  : ListenOnShared(address, workers_.size());
    if (sockets.ok()) {
      std::string bound = BoundText(address, *sockets);
      Hold(service, {.wanted = address, .bound = std::move(bound), .sockets = *std::move(sockets)});
      continue;
    }
    auto old = before.extract(service);
    missing[service] = absl::StrCat(
        "service ", service,
        old.empty() ? " has no listener" : absl::StrCat(" still listens on ", old.mapped().bound),
        ": ", sockets.status().message());
    if (!old.empty()) {
      kept.insert(std::move(old));
    } else {
      // Another service has its sockets now.
      for (const auto& worker : workers_) worker->StopListening(service);
    }
  }
  for (auto& [service, open] : kept) Hold(service, std::move(open));
  return missing;
}

void DataPlane::Hold(const std::string& service, OpenListener open) {
  if (!open.served) Serve(service, open);
  listeners_[service] = std::move(open);
}

void DataPlane::Serve(const std::string& service, OpenListener& open) {
  absl::StatusOr<std::vector<UniqueFd>> copies = Copies(open.sockets);
  if (!copies.ok()) {
    open.why_unserved = std::string(copies.status().message());
    return;
  }
  LogInfo("service {} on {}", service, open.bound);
  for (const UniqueFd& socket : open.sockets) SetKeepalive(socket.get(), options_.keepalive);
  Distribute(service, *std::move(copies));
  open.served = true;
}

// Gives each worker one socket. A predecessor with more workers hands over more, and connections
// arrive on each of them, so all are distributed.
void DataPlane::Distribute(const std::string& service, std::vector<UniqueFd> sockets) {
  std::vector<std::vector<UniqueFd>> parts(workers_.size());
  for (size_t i = 0; i < sockets.size(); ++i) {
    parts[i % parts.size()].push_back(std::move(sockets[i]));
  }
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i]->Listen(service, std::move(parts[i]));
}

absl::StatusOr<ListeningSockets> DataPlane::CopySockets() const {
  absl::MutexLock lock(&mutex_);
  ListeningSockets result;
  for (const auto& [service, open] : listeners_) {
    absl::StatusOr<std::vector<UniqueFd>> copies = Copies(open.sockets);
    if (!copies.ok()) return copies.status();
    result[SocketKey(service, open.wanted)] = *std::move(copies);
  }
  return result;
}

bool DataPlane::UsesInherited() const {
  absl::MutexLock lock(&mutex_);
  if (listeners_.empty()) return true;
  for (const auto& [service, address] : asked_) {
    for (const auto& [owner, open] : listeners_) {
      if (owner == service && open.wanted == address) return true;
      if (Overlap(open.wanted.host, open.port(), address)) return true;
    }
  }
  // A service whose new address is in use keeps its socket.
  for (const auto& [service, address] : asked_) {
    if (listeners_.contains(service) && !ListenOnShared(address, 1).ok()) return true;
  }
  return false;
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
    for (auto& [service, open] : listeners_) {
      for (const auto& worker : workers_) worker->StopListening(service);
      open.served = false;
    }
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
    for (auto& [service, open] : listeners_) open.sockets.clear();
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

std::map<std::string, std::string> DataPlane::Listening() const {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, std::string> bound;
  for (const auto& [service, open] : listeners_) {
    if (open.served) bound[service] = open.bound;
  }
  return bound;
}

std::string DataPlane::MissingListeners() const {
  absl::MutexLock lock(&mutex_);
  return absl::StrJoin(missing_, "; ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.second);
  });
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
  writer.AddGauge(
      "proxy_listeners_missing",
      "Services without a listener at their address in the snapshot, because it is in use", {},
      static_cast<double>(missing_.size()));
}

}  // namespace trunkline
