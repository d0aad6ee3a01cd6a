#include "dataplane/data_plane.h"

#include <fcntl.h>

#include <algorithm>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/log.h"

namespace trunkline {
namespace {

constexpr absl::Duration kDrainPoll = absl::Milliseconds(20);

// What a successor with the same configuration asks for.
std::string SocketKey(const std::string& service, const Address& wanted) {
  return absl::StrCat(service, " ", wanted.ToString());
}

// Of each worker. All together: a quarter of the budget, since what a window allows may come at
// once.
int64_t WindowGrowth(const DataPlane::Options& options) {
  constexpr int64_t kPart = 4;
  if (options.memory_budget_bytes == 0) return StreamWindow::kBudgetBytes;
  const auto workers = static_cast<int64_t>(options.workers);
  return std::min(StreamWindow::kBudgetBytes, options.memory_budget_bytes / (kPart * workers));
}

std::vector<UniqueFd> Copies(const std::vector<UniqueFd>& sockets) {
  std::vector<UniqueFd> copies;
  for (const UniqueFd& socket : sockets) {
    copies.emplace_back(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  }
  return copies;
}

}  // namespace

DataPlane::DataPlane(Options options, TrafficStats& stats, ListeningSockets inherited)
    : options_(std::move(options)), stats_(stats), inherited_(std::move(inherited)) {
  for (size_t i = 0; i < options_.workers; ++i) {
    const Worker::Options worker = {
        .index = i,
        .trunks = options_.trunks,
        .max_clients = options_.max_clients,
        .descriptors = options_.descriptors,
        .max_gather = options_.max_gather,
        .random_seed = options_.random_seed + i,
        .workers = options_.workers,
        .memory = options_.memory,
        .window_growth_bytes = WindowGrowth(options_),
        .hand_over = [this](size_t to, const std::string& service, UniqueFd client) {
          workers_[to]->Adopt(service, std::move(client));
        }};
    workers_.push_back(std::make_unique<Worker>(worker, stats_));
  }
}

DataPlane::~DataPlane() {
  // All, before the first is deleted: one may be handing a client to another one.
  for (const auto& worker : workers_) worker->Stop();
}

Address DataPlane::BindAddress(const EndpointSet& set) const {
  Address address = set.listen;
  if (!options_.bind_address.empty()) address.host = options_.bind_address;
  return address;
}

absl::StatusOr<DataPlane::Sockets> DataPlane::OpenNewListeners(const RoutingTable& table) {
  Sockets opened;
  absl::MutexLock lock(&mutex_);
  for (const auto& set : table.services) {
    const Address address = BindAddress(*set);
    const auto known = wanted_.find(set->service);
    if (known != wanted_.end() && known->second == address.ToString()) continue;
    if (auto left = inherited_.extract(SocketKey(set->service, address)); !left.empty()) {
      opened[set->service] = std::move(left.mapped());
      continue;
    }
    absl::StatusOr<std::vector<UniqueFd>> sockets = ListenOnShared(address, workers_.size());
    if (!sockets.ok()) {
      return absl::Status(sockets.status().code(),
                          absl::StrCat("service ", set->service, ": ", sockets.status().message()));
    }
    opened[set->service] = *std::move(sockets);
  }
  return opened;
}

absl::Status DataPlane::Apply(const std::shared_ptr<const RoutingTable>& table) {
  absl::StatusOr<Sockets> opened = OpenNewListeners(*table);
  if (!opened.ok()) return opened.status();
  for (const auto& worker : workers_) worker->Apply(table);
  std::set<std::string> present;
  absl::MutexLock lock(&mutex_);
  for (const auto& set : table->services) {
    present.insert(set->service);
    const auto sockets = opened->find(set->service);
    if (sockets == opened->end()) continue;
    Address bound = BindAddress(*set);
    wanted_[set->service] = bound.ToString();
    bound.port = BoundPort(sockets->second.front().get());
    bound_[set->service] = bound.ToString();
    LogInfo("service {} on {}", set->service, bound.ToString());
    copies_[set->service] = Copies(sockets->second);
    Distribute(set->service, std::move(sockets->second));
  }
  const auto gone = [&](const auto& entry) { return !present.contains(entry.first); };
  std::erase_if(wanted_, gone);
  std::erase_if(bound_, gone);
  std::erase_if(copies_, gone);
  // What the predecessor listened on and we do not: clients must not wait in it.
  inherited_.clear();
  return absl::OkStatus();
}

// One each. A proxy that had more workers left more, and connections come in on every one of them.
void DataPlane::Distribute(const std::string& service, std::vector<UniqueFd> sockets) {
  std::vector<std::vector<UniqueFd>> parts(workers_.size());
  for (size_t i = 0; i < sockets.size(); ++i) {
    parts[i % parts.size()].push_back(std::move(sockets[i]));
  }
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i]->Listen(service, std::move(parts[i]));
}

ListeningSockets DataPlane::CopySockets() const {
  absl::MutexLock lock(&mutex_);
  ListeningSockets result;
  for (const auto& [service, sockets] : copies_) {
    const absl::StatusOr<Address> wanted = ParseAddress(wanted_.at(service));
    if (wanted.ok()) result[SocketKey(service, *wanted)] = Copies(sockets);
  }
  return result;
}

void DataPlane::Drain(absl::Duration timeout) {
  for (const auto& [service, address] : Listening()) {
    for (const auto& worker : workers_) worker->StopListening(service);
  }
  {
    // A copy would go on to take connections that nobody accepts.
    absl::MutexLock lock(&mutex_);
    copies_.clear();
  }
  const MonotonicTime deadline = MonotonicNow() + timeout;
  while (stats_.Clients() > 0 && MonotonicNow() < deadline) {
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kDrainPoll));
  }
  if (const int64_t left = stats_.Clients(); left > 0) {
    LogWarn("{} flows did not end within the drain time-out; reset", left);
  }
}

std::map<std::string, std::string> DataPlane::Listening() const {
  absl::MutexLock lock(&mutex_);
  return bound_;
}

}  // namespace trunkline
