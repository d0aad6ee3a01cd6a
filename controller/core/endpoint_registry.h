// Keeps the endpoints of all services, the agent of each, and the age of its last report.
//
// Silence does not remove an endpoint: it becomes STALE, then EXPIRED, because an agent without a
// connection to the controller says nothing about its server. Only an orderly leave removes an
// endpoint, or a day of silence if it is not in the configuration.
//
//   EXPECTED --report--> FRESH --3 intervals--> STALE --10 intervals--> EXPIRED
//                          ^------- 3 reports in a row (1 after a start) -----'
//
// An endpoint belongs to the agent that announced it; another agent can take it over only after the
// owner has fallen silent. A new server process or a server that is reachable again begins a new
// incarnation, which drops the correction for current load but keeps the learned capacity; so does
// a new process of the agent, unless it names the same server process.
//
// Pure: takes `now`, reads no clock. Externally synchronized (by the control loop). Errors name the
// field, the value and the known alternatives.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/stored_state.h"

namespace trunkline {

enum class EndpointCondition { kExpected, kFresh, kStale, kExpired };

// Identifies one stream of one agent; not reused within a process.
using AgentSession = uint64_t;
constexpr AgentSession kNoSession = 0;

struct RegisteredEndpoint {
  EndpointKey key;
  EndpointCondition state = EndpointCondition::kExpected;
  // host:port of the agent's trunk port or, depending on the service's mode, of the server. Empty
  // while unknown; proxies do not get such an endpoint.
  std::string address;
  // Both addresses as its agent announced them; empty if it did not.
  std::string trunk_address;
  std::string server_address;
  // The address is that of the configuration; no agent announced one.
  bool address_configured = false;
  // Orders the announcements of addresses over all endpoints: the newest claim of an address owns
  // it. 0 for an address of the configuration or of the state file.
  uint64_t claim = 0;
  std::string agent_id;
  std::string agent_boot_id;
  std::string server_boot_id;
  // Relative capacity from the configuration, else from the announcement; 0 if neither has one.
  double operator_capacity = 0;
  double cores = 0;
  // The entry of the configuration, with which the endpoint stays known when its agent leaves;
  // unset if there is none.
  std::optional<StoredConfiguration> configured;
  bool draining = false;
  std::optional<double> pin;
  // The last accepted report; unset before the first one since the start of the controller.
  std::optional<ReportedLoad> load;
  MonotonicTime reported_at;
  // Grows with each accepted report, so that the load model uses each report once.
  uint64_t report_serial = 0;
  // Grows with each start of the server, and of an agent that does not name the same server
  // process.
  uint64_t incarnation = 0;
  // From the state file, without a report since.
  bool restored = false;
  // The agent's stream ended so soon after a report that the agent's process must have ended: a
  // lost network is noticed later.
  bool stream_closed = false;
  int reports_in_row = 0;
  int reports_needed = 1;
};

class EndpointRegistry {
 public:
  // Age of the last report in report intervals.
  static constexpr int kStaleIntervals = 3;
  static constexpr int kExpiredIntervals = 10;
  static_assert(kStaleIntervals < kExpiredIntervals);
  // A stream that ends this long after the last report was due, or sooner, was closed by its peer.
  // Keepalive takes at least 5 s to notice a lost network, so no report interval makes it more than
  // kMaxPromptClose.
  static constexpr absl::Duration kPromptClose = absl::Seconds(2);
  static constexpr absl::Duration kMaxPromptClose = absl::Seconds(4);
  // An endpoint is fresh again after this many reports in a row.
  static constexpr int kReportsToReturn = 3;
  // Bounds the drains and pins, which may be for absent endpoints.
  static constexpr size_t kMaxAdminStates = kMaxClusterEndpoints;
  static constexpr absl::Duration kForgetAfter = absl::Hours(24);

  // An endpoint that is not in the configuration is removed after `forget_after` of silence, once
  // it is EXPIRED.
  EndpointRegistry(const std::vector<ServiceSpec>& services, absl::Duration report_interval,
                   absl::Duration forget_after = kForgetAfter);

  // Restores the endpoints of agents, and the drains and pins. The endpoints are STALE from `now`
  // on. The configuration wins: an address or a weight that was edited takes effect, and an
  // endpoint that it no longer names is not restored unless an agent announced it. Returns a
  // sentence for the operator about each difference, and about each drain and pin without an
  // endpoint.
  std::vector<std::string> Restore(const StoredState& stored, MonotonicTime now);

  // An endpoint that an agent announced and does not hold.
  struct Refused {
    EndpointKey key;
    std::string reason;
    friend bool operator==(const Refused&, const Refused&) = default;
  };
  struct Announced {
    // The stream that this one replaces; the caller ends it with ABORTED.
    AgentSession replaced = kNoSession;
    std::vector<Refused> refused;
  };
  // Takes the endpoints that the agent may hold. Returns an error only if that is none of them.
  absl::StatusOr<Announced> Announce(AgentSession session, const AnnouncedAgent& agent,
                                     MonotonicTime now);

  enum class Verdict { kAccepted, kOldSequence, kUnknownSession };
  // Ignores the load of refused endpoints, but takes one over once its holder has fallen silent.
  // Returns INVALID_ARGUMENT if the session did not announce one of the endpoints.
  absl::StatusOr<Verdict> Report(AgentSession session, uint64_t seq,
                                 const std::vector<ReportedLoad>& loads, MonotonicTime now);

  // A stream whose agent lost an endpoint: to another agent, or because it was removed.
  struct Displaced {
    AgentSession session = kNoSession;
    std::string reason;
  };
  // Returns the streams that Announce and Report displaced since the last call; they have no
  // session any more. The caller ends them with ABORTED, so that the agents announce themselves
  // again.
  std::vector<Displaced> TakeDisplaced() { return std::exchange(displaced_, {}); }

  // Removes the agent's endpoints at once; configured ones with an address become EXPECTED. Returns
  // the agent's id, or an empty string if the session belongs to no agent.
  std::string Leave(AgentSession session);
  // Ends the session without an orderly leave; its endpoints age.
  void Disconnect(AgentSession session, MonotonicTime now);

  // Both return NOT_FOUND with the known endpoints or services, and RESOURCE_EXHAUSTED if there are
  // kMaxAdminStates already. The drain or pin of an endpoint that is gone can be ended.
  absl::Status SetDraining(const EndpointKey& key, bool draining);
  absl::Status SetPin(const EndpointKey& key, std::optional<double> pin);

  struct AdminState {
    bool draining = false;
    std::optional<double> pin;
  };
  // Returns NOT_FOUND for an endpoint that is unknown and has neither drain nor pin.
  absl::StatusOr<AdminState> AdminOf(const EndpointKey& key) const;
  absl::Status SetAdmin(const EndpointKey& key, const AdminState& state);

  void Age(MonotonicTime now);

  // Removes one endpoint that does not report, or all EXPIRED ones of the service if `endpoint_id`
  // is empty; configured ones with an address become EXPECTED. Returns how many. Returns NOT_FOUND
  // as SetDraining does, and FAILED_PRECONDITION with the remedy if the endpoint reports or is only
  // configured.
  absl::StatusOr<size_t> Forget(const std::string& service, const std::string& endpoint_id);
  // Returns the notices since the last call for the log, one sentence each.
  std::vector<std::string> TakeNotes() { return std::exchange(notes_, {}); }

  // Returns the endpoints sorted by id, or none for an unknown service. The pointers are valid
  // until the next non-const call.
  std::vector<const RegisteredEndpoint*> EndpointsOf(const std::string& service) const;
  absl::StatusOr<const RegisteredEndpoint*> Find(const EndpointKey& key) const;
  // Returns the endpoints of a live session, for the orders to its agent.
  std::vector<const RegisteredEndpoint*> EndpointsOfSession(AgentSession session) const;
  std::vector<Refused> RefusedOfSession(AgentSession session) const;
  // Grows when membership, an address or an administrative state changes.
  uint64_t generation() const { return generation_; }
  size_t size() const { return size_; }
  size_t connected_agents() const { return sessions_.size(); }
  // Endpoints that connected agents announced and do not hold.
  size_t refused_endpoints() const;
  void ExportAdmin(std::vector<StoredAdmin>* out) const;

 private:
  struct RefusedClaim {
    AnnouncedEndpoint announced;
    std::string reason;
  };
  struct Agent {
    // Without endpoints.
    AnnouncedAgent identity;
    uint64_t seq = 0;
    AgentSession session = kNoSession;
    std::vector<EndpointKey> endpoints;
    std::map<EndpointKey, RefusedClaim> refused;
  };
  using ServiceEndpoints = std::map<std::string, RegisteredEndpoint>;

  RegisteredEndpoint* FindMutable(const EndpointKey& key);
  RegisteredEndpoint& Insert(const EndpointKey& key);
  // Returns why the agent may not hold the endpoint, besides `added` new ones.
  absl::Status CheckEndpoint(const std::string& agent_id, const EndpointKey& key,
                             size_t added) const;
  void Displace(const std::string& agent_id, const std::string& reason);
  void ClaimAgain(Agent& agent, const EndpointKey& key, MonotonicTime now);
  void TakeEndpoint(const AnnouncedAgent& agent, const AnnouncedEndpoint& announced);
  void TakeLoad(RegisteredEndpoint& endpoint, const ReportedLoad& load, MonotonicTime now);
  void BeginIncarnation(RegisteredEndpoint& endpoint);
  void Remove(const EndpointKey& key);
  void DropAgentWithoutEndpoints(const std::string& agent_id);
  void AgeOne(RegisteredEndpoint& endpoint, MonotonicTime now) const;
  // Removes the endpoints whose address a newer claim owns, unless their agents still report: a
  // server or a container that is gone left its address to another one.
  void ReleaseAddresses();
  bool IsSilent(const RegisteredEndpoint& endpoint) const;
  // The entry of the configuration; null if there is none.
  const EndpointHintSpec* FindHint(const EndpointKey& key) const;
  void RestoreEndpoint(const StoredEndpoint& old, MonotonicTime now,
                       std::vector<std::string>* notes);
  void RestoreAdmin(const StoredAdmin& admin, std::vector<std::string>* notes);
  std::string KnownServices() const;

  const absl::Duration report_interval_;
  const absl::Duration forget_after_;
  std::map<std::string, ServiceSpec> specs_;
  std::map<EndpointKey, EndpointHintSpec> hints_;
  std::map<std::string, ServiceEndpoints> services_;
  std::map<std::string, Agent> agents_;
  std::map<AgentSession, std::string> sessions_;  // to agent id
  std::vector<Displaced> displaced_;
  std::vector<std::string> notes_;
  uint64_t last_claim_ = 0;
  // The claims that ReleaseAddresses has seen, and whether an address still has several.
  uint64_t checked_claim_ = 0;
  bool contested_ = false;
  std::map<EndpointKey, AdminState> admin_;
  size_t size_ = 0;
  uint64_t generation_ = 1;
};

}  // namespace trunkline
