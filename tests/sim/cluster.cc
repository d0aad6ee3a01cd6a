#include "tests/sim/cluster.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/base/random.h"
#include "common/inband/inband_report.h"
#include "controller/core/control_core.h"
#include "controller/core/proxy_table.h"
#include "tests/sim/agent.h"
#include "tests/sim/controller.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/load_source.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/proxy.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"
#include "tests/sim/server.h"

namespace trunkline::sim {
namespace {

enum Kind : uint32_t {
  kAction,
  kSecondOver,
  kStarvation,
  kTimeout,
  kAnswerArrives,
  kResetArrives,
  kHangUpArrives,
  kNextOfFlow,
  kQuiet,
};

constexpr SimTime kRoundTrip = kMillisecond / 2;
// FlowActivity::kQuietAfter.
constexpr SimTime kQuietAfter = kSecond;

}  // namespace

Cluster::Cluster(const Scenario& scenario, const Options& options)
    : scenario_(scenario),
      rule_(options.rule),
      p99_by_second_(options.p99_by_second),
      checkers_(queue_, scenario.servers.size(), result_),
      seed_(options.seed),
      source_(queue_, *this, scenario, options.seed),
      controller_(queue_, *this, scenario),
      delivery_(queue_, proxies_, scenario, options.seed),
      cpu_before_(scenario.servers.size(), 0),
      well_since_(scenario.servers.size(), 0),
      trunks_since_(scenario.servers.size(), 0) {
  const size_t count = scenario.servers.size();
  Server::Owner& owner_of_servers = *this;
  Agent::Owner& owner_of_agents = *this;
  Proxy::Owner& owner_of_proxies = *this;
  truth_.servers.resize(count);
  result_.seconds.resize(count);
  for (size_t i = 0; i < count; ++i) {
    servers_.push_back(
        std::make_unique<Server>(queue_, requests_, owner_of_servers, i, scenario.servers[i]));
    agents_.push_back(std::make_unique<Agent>(queue_, *servers_[i], owner_of_agents, i,
                                              scenario.report_interval, has_trunks(),
                                              SeedFor(seed_, "agent", i)));
    truth_.servers[i].capacity = servers_[i]->capacity();
  }
  for (int i = 0; i < scenario.proxies; ++i) {
    const auto index = static_cast<size_t>(i);
    proxies_.push_back(std::make_unique<Proxy>(queue_, requests_, owner_of_proxies, scenario,
                                               MakeRule(rule_, count, truth_),
                                               SeedFor(seed_, "proxy", index)));
  }
}

RunResult Cluster::Run() {
  for (size_t i = 0; i < scenario_.actions.size(); ++i) {
    queue_.Add(scenario_.actions[i].at, *this, kAction, i);
  }
  queue_.Add(kSecond, *this, kSecondOver);
  queue_.Add(Checkers::kStarvation, *this, kStarvation);
  if (adaptive()) controller_.Start(/*with_state=*/false);
  for (size_t i = 0; i < agents_.size(); ++i) {
    if (!scenario_.servers[i].agentless) agents_[i]->Start();
  }
  for (const std::unique_ptr<Proxy>& proxy : proxies_) proxy->Start();
  source_.Start();
  queue_.Run(scenario_.duration);
  result_.events = queue_.events_run();
  CountUnfinished();
  return std::move(result_);
}

void Cluster::OnEvent(uint32_t kind, uint64_t value) {
  switch (kind) {
    case kAction:
      return Apply(scenario_.actions[value]);
    case kSecondOver:
      return OnSecond();
    case kStarvation:
      return CheckStarvation();
    case kTimeout:
      return OnTimeouts();
    case kNextOfFlow:
      return NextOfFlow(static_cast<uint32_t>(value));
    case kQuiet:
      return OnQuiet(static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32));
    default:
      break;
  }
  if (!requests_.Valid(value)) return;
  const auto id = static_cast<RequestId>(value);
  if (kind == kAnswerArrives) return OnReply(id);
  if (!requests_[id].abandoned) {
    Proxy& proxy = *proxies_[requests_[id].proxy];
    kind == kResetArrives ? proxy.OnReset(id) : proxy.OnHungUp(id);
    proxy.Release(id);
  }
  EndRequest(id, /*answered=*/false);
}

// ---- Requests.

void Cluster::OnArrival(const Arrival& arrival) {
  const RequestId id = MakeRequest(arrival.proxy, arrival.cpu, arrival.wait);
  if (arrival.is_long) {
    if (free_flows_.empty()) {
      free_flows_.push_back(static_cast<uint32_t>(flows_.size()));
      flows_.emplace_back();
    }
    const uint32_t flow = free_flows_.back();
    free_flows_.pop_back();
    const uint32_t serial = flows_[flow].serial;
    flows_[flow] = {.proxy = arrival.proxy,
                    .pinned = scenario_.mode != ForwardingMode::kMessage,
                    .left = scenario_.long_flows.requests,
                    .serial = serial + 1,
                    .random = FastRandom(SeedFor(seed_, "flow", arrival.number))};
    requests_[id].flow = flow;
  }
  proxies_[arrival.proxy]->Submit(id);
}

RequestId Cluster::MakeRequest(uint32_t proxy, double cpu, double wait) {
  const RequestId id = requests_.Make();
  Request& request = requests_[id];
  request.intended = request.accepted = queue_.now();
  request.cpu = cpu;
  request.wait = wait;
  request.proxy = proxy;
  if (in_steady_state(request.intended)) ++result_.requests;
  timeouts_.emplace_back(queue_.now() + scenario_.timeout, requests_.Ticket(id));
  if (!std::exchange(awaits_timeout_, true)) {
    queue_.Add(timeouts_.front().first, *this, kTimeout);
  }
  return id;
}

void Cluster::OnTimeouts() {
  while (!timeouts_.empty() && timeouts_.front().first <= queue_.now()) {
    const uint64_t ticket = timeouts_.front().second;
    timeouts_.pop_front();
    if (requests_.Valid(ticket)) Abandon(static_cast<RequestId>(ticket));
  }
  // Requests that have ended need no event of their own.
  while (!timeouts_.empty() && !requests_.Valid(timeouts_.front().second)) timeouts_.pop_front();
  awaits_timeout_ = !timeouts_.empty();
  if (awaits_timeout_) queue_.Add(timeouts_.front().first, *this, kTimeout);
}

void Cluster::Abandon(RequestId id) {
  Request& request = requests_[id];
  if (request.abandoned) return;
  request.abandoned = true;
  proxies_[request.proxy]->Release(id);
  Record(request, /*answered=*/false);
  if (request.flow != kNoFlow) EndFlow(std::exchange(request.flow, kNoFlow));
  if (request.at_server) return;  // the server learns of it when it turns to the request
  requests_.Release(id);
}

bool Cluster::OnConnect(size_t server, RequestId id) {
  const Request& request = requests_[id];
  if (request.flow != kNoFlow && flows_[request.flow].pinned) {
    flows_[request.flow].server = static_cast<uint32_t>(server);
  }
  if (in_steady_state(queue_.now())) {
    ++result_.flows;
    if (scenario_.watched == server) ++result_.watched_flows;
  }
  checkers_.OnFlow(server);
  if (has_trunks() && agents_[server]->dead()) return false;
  // Nothing comes out of an agent that is frozen; its trunks end later.
  if (has_trunks() && !agents_[server]->running()) return true;
  if (!servers_[server]->Accept(id)) return false;
  truth_.servers[server].in_flight += 1;
  return true;
}

bool Cluster::OnProbe(size_t server) const { return servers_[server]->accepts(); }

void Cluster::OnFailed(RequestId id) { EndRequest(id, /*answered=*/false); }

void Cluster::Reply(RequestId id, uint32_t kind) {
  Request& request = requests_[id];
  truth_.servers[request.server].in_flight -= 1;
  const SimTime distance = scenario_.servers[request.server].distance;
  if (has_trunks() && !agents_[request.server]->running() && !trunks_break_) {
    // The client waits in vain.
    request.at_server = false;
    if (request.abandoned) requests_.Release(id);
    return;
  }
  queue_.Add(queue_.now() + kRoundTrip + distance, *this, kind, requests_.Ticket(id));
}

void Cluster::OnServed(size_t, RequestId id) { Reply(id, kAnswerArrives); }
void Cluster::OnReset(size_t, RequestId id) { Reply(id, kResetArrives); }
void Cluster::OnHungUp(size_t, RequestId id) { Reply(id, kHangUpArrives); }

void Cluster::OnDropped(size_t server, RequestId id) {
  truth_.servers[server].in_flight -= 1;
  requests_.Release(id);
}

void Cluster::OnReply(RequestId id) {
  Request& request = requests_[id];
  if (request.abandoned) return requests_.Release(id);
  Proxy& proxy = *proxies_[request.proxy];
  const bool pinned = request.flow != kNoFlow && flows_[request.flow].pinned;
  const bool first = !pinned || flows_[request.flow].left == scenario_.long_flows.requests;
  proxy.OnAnswered(id, first);
  if (pinned && flows_[request.flow].left > 1) {
    // The flow itself counts on.
    flows_[request.flow].is_load = std::exchange(request.is_load, false);
  }
  proxy.Release(id);
  EndRequest(id, /*answered=*/true);
}

void Cluster::EndRequest(RequestId id, bool answered) {
  const Request& request = requests_[id];
  const uint32_t flow = request.flow;
  if (!request.abandoned) Record(request, answered);
  requests_.Release(id);
  if (flow == kNoFlow) return;
  if (!answered || --flows_[flow].left == 0) return EndFlow(flow);
  const SimTime every = scenario_.long_flows.every;
  queue_.Add(queue_.now() + every, *this, kNextOfFlow, flow);
  if (every > kQuietAfter) {
    queue_.Add(queue_.now() + kQuietAfter, *this, kQuiet,
               (static_cast<uint64_t>(flows_[flow].serial) << 32) | flow);
  }
}

void Cluster::NextOfFlow(uint32_t index) {
  Flow& flow = flows_[index];
  ++flow.serial;
  const double cpu = scenario_.cpu.Draw(flow.random);
  const double wait = scenario_.wait.Draw(flow.random);
  const RequestId id = MakeRequest(flow.proxy, cpu, wait);
  requests_[id].flow = index;
  if (!flow.pinned) return proxies_[flow.proxy]->Submit(id);
  requests_[id].tries = UINT8_MAX;
  proxies_[flow.proxy]->SubmitTo(flow.server, id, std::exchange(flow.is_load, false));
}

void Cluster::EndFlow(uint32_t index) {
  Flow& flow = flows_[index];
  if (std::exchange(flow.is_load, false)) proxies_[flow.proxy]->AddLoad(flow.server, -1);
  ++flow.serial;
  free_flows_.push_back(index);
}

void Cluster::OnQuiet(uint32_t index, uint32_t serial) {
  Flow& flow = flows_[index];
  if (flow.serial != serial) return;
  if (std::exchange(flow.is_load, false)) proxies_[flow.proxy]->AddLoad(flow.server, -1);
}

void Cluster::Record(const Request& request, bool answered) {
  const SimTime latency = queue_.now() - request.intended;
  if (p99_by_second_) this_second_.Add(answered ? latency : scenario_.timeout);
  if (!in_steady_state(request.intended)) return;
  if (!answered) ++result_.failures;
  if (answered) result_.latencies.Add(latency);
  if (!answered || latency > scenario_.objective) ++result_.misses;
}

// A request that is late already at the end of the run counts as a miss.
void Cluster::CountUnfinished() {
  for (const auto& [deadline, ticket] : timeouts_) {
    if (!requests_.Valid(ticket)) continue;
    const Request& request = requests_[static_cast<RequestId>(ticket)];
    const bool late = queue_.now() - request.intended > scenario_.objective;
    if (late && !request.abandoned && in_steady_state(request.intended)) ++result_.misses;
  }
}

// ---- The control plane.

void Cluster::OnTraffic(const ProxyTraffic& traffic) {
  if (adaptive()) controller_.Traffic(traffic);
}

void Cluster::OnAgentConnects(size_t agent) {
  if (adaptive()) controller_.Announce(agent, agents_[agent]->Announcement());
}

void Cluster::OnAgentGone(size_t agent) { controller_.Disconnect(agent); }

void Cluster::OnLoadReport(size_t agent, uint64_t seq, const AgentReport& report) {
  ClusterTruth::Server& known = truth_.servers[agent];
  known.reported = true;
  known.utilization = report.load.cpu_utilization;
  known.requests_per_second = report.requests_per_second;
  known.errors_per_second = report.load.errors_per_second;
  if (adaptive()) controller_.Report(agent, seq, report.load);
}

void Cluster::OnInbandReport(size_t agent, const ServerLoad& load) {
  for (const std::unique_ptr<Proxy>& proxy : proxies_) proxy->OnInbandReport(agent, load);
}

void Cluster::OnTrunks(size_t agent, bool usable) {
  if (!has_trunks()) return;
  for (const std::unique_ptr<Proxy>& proxy : proxies_) proxy->SetUsable(agent, usable);
  trunks_since_[agent] = usable ? queue_.now() : INT64_MAX;
  if (usable) return;
  trunks_break_ = true;
  servers_[agent]->DropConnections();
  trunks_break_ = false;
}

void Cluster::OnSnapshot(const ServiceSnapshot& snapshot) { delivery_.OnSnapshot(snapshot); }

void Cluster::OnTick(const ControlCore& core) { checkers_.OnTick(core); }

void Cluster::OnControllerLost() {
  checkers_.OnControllerLost();
  delivery_.OnControllerLost();
}

void Cluster::OnSecond() {
  queue_.Add(queue_.now() + kSecond, *this, kSecondOver);
  for (size_t i = 0; i < servers_.size(); ++i) {
    const double cpu = servers_[i]->CpuSeconds();
    const double used = cpu - std::exchange(cpu_before_[i], cpu);
    result_.seconds[i].push_back({.utilization = used / scenario_.servers[i].usable_cores(),
                                  .share = delivery_.shares()[i],
                                  .capacity = truth_.servers[i].capacity});
  }
  if (!p99_by_second_) return;
  result_.p99_by_second.push_back(this_second_.Quantile(0.99));
  this_second_.Clear();
}

void Cluster::CheckStarvation() {
  queue_.Add(queue_.now() + Checkers::kStarvation, *this, kStarvation);
  if (!adaptive()) return;
  std::vector<bool> well(servers_.size());
  for (size_t i = 0; i < servers_.size(); ++i) {
    const SimTime from = std::max<SimTime>(0, queue_.now() - Checkers::kStarvation);
    well[i] = std::max(well_since_[i], trunks_since_[i]) <= from;
  }
  checkers_.CheckStarvation(well, delivery_.shares());
}

}  // namespace trunkline::sim
