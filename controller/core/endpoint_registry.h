// Who exists, who speaks for it, and how long ago it was heard: reports and time in, endpoint
// states out.
//
// It decides nothing about weights and nothing about liveness: a silent endpoint becomes STALE,
// then EXPIRED, and stays known, because an agent that lost its way to the controller says nothing
// about the server behind it. Only an orderly leave (or a day of silence of an endpoint that nobody
// configured) takes an endpoint out.
//
//   EXPECTED --report--> FRESH --3 intervals--> STALE --10 intervals--> EXPIRED
//                          ^------- 3 reports in a row (1 after a start) -----'
//
// An endpoint belongs to the agent that announced it; another agent gets it only once the holder
// fell silent. A new boot id, a new server process or a server that became reachable again begins a
// new incarnation: what was learned about how it does now is void, what was learned about its
// capacity is not.
//
// Pure: takes `now`, reads no clock. Externally synchronized (the control loop). Errors are
// absl::Status that name the field, the value and what is known instead.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/stored_state.h"

namespace trunkline {

enum class EndpointCondition { kExpected, kFresh, kStale, kExpired };

// One stream of one agent; never reused within a process.
using AgentSession = uint64_t;
constexpr AgentSession kNoSession = 0;

struct RegisteredEndpoint {
  EndpointKey key;
  EndpointCondition state = EndpointCondition::kExpected;
  // host:port of the agent's trunk port or, by the service's mode, of the server; empty: nobody
  // said yet, so proxies are not told of it.
  std::string address;
  std::string agent_id;
  std::string agent_boot_id;
  std::string server_boot_id;
  // The operator's relative capacity (configuration before announcement); 0: none given.
  double operator_capacity = 0;
  double cores = 0;
  // In the configuration: it stays known when its agent leaves.
  bool configured = false;
  bool draining = false;
  std::optional<double> pin;
  // The newest accepted report and when it came; unset: none in this incarnation of the controller.
  std::optional<ReportedLoad> load;
  MonotonicTime reported_at;
  // Grows with each accepted report: the load model uses each once.
  uint64_t report_serial = 0;
  // Grows with each start of agent or server.
  uint64_t incarnation = 0;
  // From the state file, no report since.
  bool restored = false;
  int reports_in_row = 0;
  int reports_needed = 1;
};

class EndpointRegistry {
 public:
  // In report intervals since the last report.
  static constexpr int kStaleIntervals = 3;
  static constexpr int kExpiredIntervals = 10;
  // A silent endpoint that speaks again must do so this often before it is believed.
  static constexpr int kReportsToReturn = 3;
  // Twice the fleet that one controller is built for (10,000 agents); a flood of made-up ids ends
  // here.
  static constexpr size_t kMaxEndpoints = 20000;
  static constexpr size_t kMaxEndpointsPerAgent = 64;
  // Drains and pins, present endpoints or not.
  static constexpr size_t kMaxAdminStates = 20000;
  // An endpoint nobody configured and nobody heard of for this long was taken away without a word.
  static constexpr absl::Duration kForgetAfter = absl::Hours(24);

  EndpointRegistry(const std::vector<ServiceSpec>& services, absl::Duration report_interval);

  // Takes over what the state file knows of services that are still configured. Those endpoints are
  // STALE from `now` on.
  void Restore(const StoredState& stored, MonotonicTime now);

  struct Announced {
    // The stream that this one replaces; to be ended with ABORTED.
    AgentSession replaced = kNoSession;
  };
  absl::StatusOr<Announced> Announce(AgentSession session, const AnnouncedAgent& agent,
                                     MonotonicTime now);

  enum class Verdict { kAccepted, kOldSequence, kUnknownSession };
  // INVALID_ARGUMENT: an endpoint that the session did not announce.
  absl::StatusOr<Verdict> Report(AgentSession session, uint64_t seq,
                                 const std::vector<ReportedLoad>& loads, MonotonicTime now);

  // Orderly: the agent's endpoints go at once (configured ones with an address wait as EXPECTED).
  // The agent's id; empty: the session is not, or no longer, an agent's.
  std::string Leave(AgentSession session);
  // Anything else: the endpoints age.
  void Disconnect(AgentSession session);

  // NOT_FOUND names the endpoints or services that exist.
  absl::Status SetDraining(const EndpointKey& key, bool draining);
  absl::Status SetPin(const EndpointKey& key, std::optional<double> pin);

  void Age(MonotonicTime now);

  // Sorted by endpoint id; valid until the next call that is not const. Empty for an unknown
  // service.
  std::vector<const RegisteredEndpoint*> EndpointsOf(const std::string& service) const;
  absl::StatusOr<const RegisteredEndpoint*> Find(const EndpointKey& key) const;
  // Endpoints of a live session, for its directives.
  std::vector<const RegisteredEndpoint*> EndpointsOfSession(AgentSession session) const;
  // Grows when membership, an address or an administrative state changes.
  uint64_t generation() const { return generation_; }
  size_t size() const { return size_; }
  size_t connected_agents() const { return sessions_.size(); }
  void ExportAdmin(std::vector<StoredAdmin>* out) const;

 private:
  struct Agent {
    std::string boot_id;
    uint64_t seq = 0;
    AgentSession session = kNoSession;
    std::vector<EndpointKey> endpoints;
  };
  struct AdminState {
    bool draining = false;
    std::optional<double> pin;
  };
  using ServiceEndpoints = std::map<std::string, RegisteredEndpoint>;

  RegisteredEndpoint* FindMutable(const EndpointKey& key);
  RegisteredEndpoint& Insert(const EndpointKey& key);
  absl::Status CheckAnnouncement(const AnnouncedAgent& agent) const;
  void TakeEndpoint(const AnnouncedAgent& agent, const AnnouncedEndpoint& announced);
  void TakeLoad(RegisteredEndpoint& endpoint, const ReportedLoad& load, MonotonicTime now);
  void BeginIncarnation(RegisteredEndpoint& endpoint);
  void Remove(const EndpointKey& key);
  void DropAgentWithoutEndpoints(const std::string& agent_id);
  void AgeOne(RegisteredEndpoint& endpoint, MonotonicTime now) const;
  void StoreAdmin(const EndpointKey& key, const AdminState& state);
  std::string KnownServices() const;

  const absl::Duration report_interval_;
  std::map<std::string, ServiceSpec> specs_;
  std::map<std::string, ServiceEndpoints> services_;
  std::map<std::string, Agent> agents_;
  std::map<AgentSession, std::string> sessions_;  // to agent id
  std::map<EndpointKey, AdminState> admin_;
  size_t size_ = 0;
  uint64_t generation_ = 1;
};

}  // namespace trunkline
