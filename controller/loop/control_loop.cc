#include "controller/loop/control_loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/observe/log.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/load_report.h"
#include "controller/core/proxy_table.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "controller/core/weight_history.h"

namespace trunkline {
namespace {

std::string Text(const absl::Status& status) { return std::string(status.message()); }

// Ignores loads, which change all the time and are read on demand.
bool LooksTheSame(const ControllerView& a, const ControllerView& b) {
  if (a.snapshot != b.snapshot || a.settling != b.settling) return false;
  if (a.services.size() != b.services.size()) return false;
  for (size_t i = 0; i < a.services.size(); ++i) {
    const ServiceReason &x = a.services[i], &y = b.services[i];
    if (x.load.freeze_reason != y.load.freeze_reason) return false;
    if (x.endpoints.size() != y.endpoints.size()) return false;
    for (size_t j = 0; j < x.endpoints.size(); ++j) {
      const RegisteredEndpoint &p = x.endpoints[j].endpoint, &q = y.endpoints[j].endpoint;
      if (p.key != q.key || p.state != q.state || p.draining != q.draining || p.pin != q.pin) {
        return false;
      }
      if (x.endpoints[j].load.suspect != y.endpoints[j].load.suspect) return false;
    }
  }
  return true;
}

// Logs which endpoints became suspect, and which no longer are.
void LogSuspects(const ServiceReason& before, const ServiceReason& now) {
  std::set<std::string> suspects;
  for (const EndpointReason& was : before.endpoints) {
    if (was.load.suspect) suspects.insert(was.endpoint.key.endpoint_id);
  }
  for (const EndpointReason& is : now.endpoints) {
    const EndpointKey& key = is.endpoint.key;
    const bool known = suspects.contains(key.endpoint_id);
    if (is.load.suspect && !known) {
      LogWarn("endpoint {} is suspect: {}", key.ToString(), DescribeSuspect(is.load));
    } else if (!is.load.suspect && known) {
      LogInfo("endpoint {} is no longer suspect", key.ToString());
    }
  }
}

void LogTransitions(const ControllerView& before, const ControllerView& now) {
  if (before.services.size() != now.services.size()) return;
  for (size_t i = 0; i < now.services.size(); ++i) {
    LogSuspects(before.services[i], now.services[i]);
    const std::string& was = before.services[i].load.freeze_reason;
    const std::string& is = now.services[i].load.freeze_reason;
    if (was.empty() == is.empty()) continue;
    if (is.empty()) {
      LogInfo("service {}: enough reports arrive; weights are no longer frozen",
              now.services[i].spec.name);
    } else {
      LogWarn("service {}: {}", now.services[i].spec.name, is);
    }
  }
}

// More would hide the rest of the log.
constexpr size_t kMaxNotes = 100;

void LogNotes(const std::vector<std::string>& notes) {
  for (size_t i = 0; i < std::min(notes.size(), kMaxNotes); ++i) LogWarn("{}", notes[i]);
  if (notes.size() > kMaxNotes) {
    LogWarn("{} more endpoints, drains or pins are affected", notes.size() - kMaxNotes);
  }
}

}  // namespace

ControlLoop::ControlLoop(const Options& options)
    : store_(options.store),
      cluster_id_(options.cluster_id),
      schedule_(options.tick_interval, MonotonicNow()),
      report_interval_(options.core.report_interval),
      core_(std::in_place, options.core, MonotonicNow()),
      view_(core_->View(MonotonicNow())) {}

ControlLoop::~ControlLoop() { Stop(); }

absl::Status ControlLoop::Start() {
  LogNotes(core_->restore_notes());
  // From now on the file states that proxies may hold newer versions.
  absl::Status saved = Save(MonotonicNow(), /*orderly=*/false);
  for (const ViewListener& listener : listeners_) listener(view());
  thread_ = std::thread([this] { Run(); });
  return saved;
}

void ControlLoop::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = urgent_ = true;
    work_.NotifyAll();
  }
  thread_.join();
}

void ControlLoop::Post(Task task) {
  absl::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  urgent_ = true;
  work_.NotifyAll();
}

void ControlLoop::PostReport(Task task) {
  absl::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  // Later ones wait with it.
  if (tasks_.size() == 1) work_.NotifyAll();
}

std::deque<ControlLoop::Task> ControlLoop::AwaitTasks() {
  const MonotonicTime next = schedule_.next();
  work_.AwaitFor(mutex_, next - MonotonicNow(), absl::Condition(this, &ControlLoop::HasWork));
  work_.AwaitFor(mutex_, std::min(kReportBatching, next - MonotonicNow()),
                 absl::Condition(&urgent_));
  urgent_ = false;
  return std::exchange(tasks_, {});
}

void ControlLoop::Run() {
  for (bool stopping = false; !stopping;) {
    std::deque<Task> tasks;
    {
      absl::MutexLock lock(&mutex_);
      tasks = AwaitTasks();
      stopping = stopping_;
    }
    for (const Task& task : tasks) task();
    const MonotonicTime now = MonotonicNow();
    if (core_->registry().generation() != ticked_generation_) schedule_.OnChange(now);
    if (schedule_.Due(now)) Tick(now);
  }
  if (absl::Status saved = Save(MonotonicNow(), /*orderly=*/true); !saved.ok()) {
    LogError("state file not written at the stop, so the next start begins a new epoch: {}",
             Text(saved));
  }
}

void ControlLoop::Tick(MonotonicTime now) {
  core_->Tick(now);
  schedule_.OnTick(now);
  ticked_generation_ = core_->registry().generation();
  LogNotes(core_->registry().TakeNotes());
  DirectAgents();
  Show(now);
  SaveIfDue(now);
  tick_durations_.Record((MonotonicNow().nanos() - now.nanos()));
}

void ControlLoop::Show(MonotonicTime now) {
  const std::shared_ptr<const ControllerView> fresh = core_->View(now);
  const std::shared_ptr<const ControllerView> before = view();
  {
    absl::MutexLock lock(&mutex_);
    view_ = fresh;
  }
  {
    absl::MutexLock lock(&history_mutex_);
    history_.Record(*fresh, now);
  }
  if (LooksTheSame(*before, *fresh)) return;
  LogTransitions(*before, *fresh);
  for (const ViewListener& listener : listeners_) listener(fresh);
}

std::shared_ptr<const ControllerView> ControlLoop::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

void ControlLoop::Announce(AgentSession session, AnnouncedAgent agent, AgentStreamHooks hooks) {
  Post([this, session, agent = std::move(agent), hooks = std::move(hooks)] {
    absl::StatusOr<EndpointRegistry::Announced> announced =
        core_->registry().Announce(session, agent, MonotonicNow());
    if (!announced.ok()) {
      LogWarn("agent {} refused: {}", agent.agent_id, Text(announced.status()));
      hooks.end(announced.status());
      return;
    }
    if (announced->replaced != kNoSession) {
      EndStream(announced->replaced,
                absl::AbortedError(absl::StrCat("another stream of agent ", agent.agent_id,
                                                " replaces this one")));
    }
    LogInfo("agent {} (version {}) announced {} endpoints; its trunk port is {}", agent.agent_id,
            agent.version, agent.endpoints.size(), agent.trunk_address);
    for (const EndpointRegistry::Refused& refused : announced->refused) {
      LogWarn("agent {}: endpoint {} refused, its others are accepted: {}", agent.agent_id,
              refused.key.ToString(), refused.reason);
    }
    AgentStream& stream = streams_[session];
    stream.hooks = hooks;
    DirectAgent(session, stream);
    EndDisplaced();
  });
}

void ControlLoop::Report(AgentSession session, uint64_t seq, std::vector<ReportedLoad> loads) {
  if (queued_reports_.fetch_add(1) >= kMaxQueuedReports) {
    queued_reports_.fetch_sub(1);
    ++report_counts_.overflow;
    return;
  }
  PostReport([this, session, seq, loads = std::move(loads)] {
    queued_reports_.fetch_sub(1);
    absl::StatusOr<EndpointRegistry::Verdict> verdict =
        core_->registry().Report(session, seq, loads, MonotonicNow());
    if (!verdict.ok()) {
      ++report_counts_.invalid;
      EndStream(session, verdict.status());
      core_->registry().Disconnect(session, MonotonicNow());
      return;
    }
    EndDisplaced();
    switch (*verdict) {
      case EndpointRegistry::Verdict::kAccepted:
        ++report_counts_.accepted;
        break;
      case EndpointRegistry::Verdict::kOldSequence:
        ++report_counts_.old_sequence;
        break;
      case EndpointRegistry::Verdict::kUnknownSession:
        ++report_counts_.unknown_session;
        break;
    }
  });
}

void ControlLoop::Leave(AgentSession session) {
  Post([this, session] {
    const std::string agent_id = core_->registry().Leave(session);
    if (agent_id.empty()) return;
    LogInfo("agent {} stopped in an orderly way; its endpoints leave at once", agent_id);
    schedule_.OnUrgent(MonotonicNow());
  });
}

void ControlLoop::StreamEnded(AgentSession session, bool orderly) {
  if (orderly) Leave(session);
  Post([this, session] {
    core_->registry().Disconnect(session, MonotonicNow());
    streams_.erase(session);
  });
}

void ControlLoop::EndStream(AgentSession session, const absl::Status& status) {
  auto stream = streams_.find(session);
  if (stream == streams_.end()) return;
  stream->second.hooks.end(status);
  streams_.erase(stream);
}

void ControlLoop::EndDisplaced() {
  for (const EndpointRegistry::Displaced& displaced : core_->registry().TakeDisplaced()) {
    LogWarn("{}", displaced.reason);
    EndStream(displaced.session, absl::AbortedError(displaced.reason));
  }
}

void ControlLoop::DirectAgents() {
  // Orders depend only on the set of endpoints and on administrative states.
  if (directed_generation_ == core_->registry().generation()) return;
  directed_generation_ = core_->registry().generation();
  for (auto& [session, stream] : streams_) DirectAgent(session, stream);
}

void ControlLoop::DirectAgent(AgentSession session, AgentStream& stream) {
  AgentOrders orders{report_interval_, {}, core_->registry().RefusedOfSession(session)};
  for (const RegisteredEndpoint* endpoint : core_->registry().EndpointsOfSession(session)) {
    orders.endpoints.push_back({endpoint->key, endpoint->draining});
  }
  if (stream.told == orders) return;
  stream.hooks.direct(orders);
  stream.told = std::move(orders);
}

void ControlLoop::SetDraining(EndpointKey key, bool draining, AdminDone done) {
  Post([this, key = std::move(key), draining, done = std::move(done)] {
    Order(
        key, absl::StrCat(draining ? "drain " : "undrain ", key.ToString()),
        [&] { return core_->registry().SetDraining(key, draining); }, done);
  });
}

void ControlLoop::SetPin(EndpointKey key, std::optional<double> pin, AdminDone done) {
  Post([this, key = std::move(key), pin, done = std::move(done)] {
    Order(
        key,
        pin ? absl::StrCat("pin ", key.ToString(), " to ", *pin)
            : absl::StrCat("unpin ", key.ToString()),
        [&] { return core_->registry().SetPin(key, pin); }, done);
  });
}

void ControlLoop::Order(const EndpointKey& key, const std::string& what,
                        const std::function<absl::Status()>& change, const AdminDone& done) {
  const absl::StatusOr<EndpointRegistry::AdminState> before = core_->registry().AdminOf(key);
  if (absl::Status applied = change(); !applied.ok()) {
    done(applied);
    return;
  }
  const MonotonicTime now = MonotonicNow();
  if (absl::Status saved = Save(now, /*orderly=*/false); !saved.ok()) {
    core_->registry().SetAdmin(key, *before).IgnoreError();  // as it was, so it fits
    LogError("{} refused, because the state file cannot be written: {}", what, Text(saved));
    done(absl::FailedPreconditionError(absl::StrCat(
        what,
        " is refused and nothing has changed: the state file cannot be written, so a restart "
        "of the controller would lose the order. Repeat it when the file can be written: ",
        saved.message())));
    return;
  }
  LogInfo("{}", what);
  Tick(now);
  done(core_->publisher().current()->id);
}

void ControlLoop::Forget(std::string service, std::string endpoint_id,
                         std::function<void(absl::StatusOr<Forgotten>)> done) {
  Post([this, service = std::move(service), endpoint_id = std::move(endpoint_id),
        done = std::move(done)] {
    const MonotonicTime now = MonotonicNow();
    // A forgotten endpoint cannot be restored, so check first that the file can be written.
    if (absl::Status saved = Save(now, /*orderly=*/false); !saved.ok()) {
      done(absl::FailedPreconditionError(absl::StrCat(
          "nothing is forgotten: the state file cannot be written, so a restart of the controller "
          "would bring it back. Repeat it when the file can be written: ",
          saved.message())));
      return;
    }
    const absl::StatusOr<size_t> gone = core_->registry().Forget(service, endpoint_id);
    if (!gone.ok()) {
      done(gone.status());
      return;
    }
    LogInfo("forgot {} endpoints of service {}", *gone, service);
    Tick(now);
    if (absl::Status saved = Save(now, /*orderly=*/false); !saved.ok()) {
      LogError("state file not written, so a restart brings forgotten endpoints back: {}",
               Text(saved));
    }
    done(Forgotten{*gone, core_->publisher().current()->id});
  });
}

void ControlLoop::Reload(const Options& options, AdminDone done) {
  Post([this, options = Options(options), done = std::move(done)]() mutable {
    options.core.stored = core_->Export();
    const SnapshotVersion current = core_->publisher().current()->id;
    options.core.first = {current.epoch, current.version + 1};
    // The new registry knows no session. Agents announce themselves again at once.
    while (!streams_.empty()) {
      EndStream(streams_.begin()->first,
                absl::UnavailableError("the controller reloads its configuration"));
    }
    core_.emplace(options.core, MonotonicNow());
    schedule_.SetInterval(options.tick_interval);
    report_interval_ = options.core.report_interval;
    directed_generation_ = 0;
    LogNotes(core_->restore_notes());
    const MonotonicTime now = MonotonicNow();
    Tick(now);
    if (absl::Status saved = Save(now, /*orderly=*/false); !saved.ok()) {
      LogError("state file not written after a reload of the configuration: {}", Text(saved));
    }
    done(core_->publisher().current()->id);
  });
}

void ControlLoop::Traffic(ProxyTraffic traffic) {
  if (queued_traffic_.fetch_add(1) >= kMaxQueuedTraffic) {
    queued_traffic_.fetch_sub(1);
    return;
  }
  PostReport([this, traffic = std::move(traffic)] {
    queued_traffic_.fetch_sub(1);
    core_->traffic().Add(traffic, MonotonicNow());
  });
}

void ControlLoop::ProxyHolds(SnapshotVersion version) {
  if (version <= view()->snapshot->id) return;
  Post([this, version] {
    const SnapshotVersion ours = core_->publisher().current()->id;
    if (version <= ours) return;
    LogWarn(
        "a proxy holds snapshot {}/{}, which is newer than {}/{} of this controller: the state "
        "file "
        "is older than the last published snapshot, or the clock was set back; continuing in epoch "
        "{}",
        version.epoch, version.version, ours.epoch, ours.version, version.epoch + 1);
    core_->RiseAbove(version);
    schedule_.OnUrgent(MonotonicNow());
  });
}

absl::Status ControlLoop::Save(MonotonicTime now, bool orderly) {
  if (store_ == nullptr) return absl::OkStatus();
  save_tried_at_ = now;
  const MonotonicTime began = MonotonicNow();
  StoredState state = core_->Export();
  state.cluster_id = cluster_id_;
  state.orderly = orderly;
  if (absl::Status written = store_->Save(state); !written.ok()) {
    state_write_failures_.Add();
    return written;
  }
  saved_version_ = {state.epoch, state.version};
  saved_generation_ = core_->registry().generation();
  saved_at_ = now;
  save_took_ = MonotonicNow() - began;
  return absl::OkStatus();
}

void ControlLoop::SaveIfDue(MonotonicTime now) {
  if (now - save_tried_at_ < kSaveInterval) return;
  const bool published = saved_version_ != core_->publisher().current()->id;
  const bool only_numbers = saved_generation_ == core_->registry().generation();
  const absl::Duration pause =
      published ? std::min(kSaveShare * save_took_, kSaveDriftInterval) : kSaveDriftInterval;
  if (only_numbers && now - saved_at_ < pause) return;
  const absl::Status saved = Save(now, /*orderly=*/false);
  // Logs transitions only, because a full disk stays full for a while.
  if (!saved.ok() && !save_failing_) {
    LogError("state file not written, so a restart loses recent changes; retrying: {}",
             Text(saved));
  }
  if (saved.ok() && save_failing_) LogInfo("state file is written again");
  save_failing_ = !saved.ok();
}

}  // namespace trunkline
