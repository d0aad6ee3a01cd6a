// The actions of a scenario on a cluster.
#include <cstdint>
#include <memory>

#include "tests/sim/agent.h"
#include "tests/sim/cluster.h"
#include "tests/sim/scenario.h"
#include "tests/sim/server.h"

namespace trunkline::sim {

void Cluster::Apply(const Action& action) {
  switch (action.kind) {
    case ActionKind::kLoad:
      return source_.SetLoad(action.value);
    case ActionKind::kControllerDies:
      return controller_.Die();
    case ActionKind::kControllerStarts:
    case ActionKind::kControllerStartsEmpty:
      if (!adaptive()) return;
      controller_.Start(action.kind == ActionKind::kControllerStarts);
      for (size_t i = 0; i < agents_.size(); ++i) {
        if (!scenario_.servers[i].agentless) agents_[i]->OnControllerLost();
      }
      return;
    case ActionKind::kServerSpeed:
    case ActionKind::kServerSteal:
    case ActionKind::kServerMemory:
    case ActionKind::kServerFails:
    case ActionKind::kServerFreezes:
    case ActionKind::kServerThaws:
    case ActionKind::kServerDies:
    case ActionKind::kServerStarts:
    case ActionKind::kServerCold:
      return ApplyToServer(action);
    default:
      agents_[action.server]->Apply(action);
  }
}

void Cluster::ApplyToServer(const Action& action) {
  Server& server = *servers_[action.server];
  switch (action.kind) {
    case ActionKind::kServerSpeed:
      server.SetSpeed(action.value);
      break;
    case ActionKind::kServerSteal:
      server.SetStolen(action.value);
      break;
    case ActionKind::kServerMemory:
      server.SetMemory(action.value);
      break;
    case ActionKind::kServerFails:
      server.SetFailure(action.text == "reset"    ? Server::Failure::kReset
                        : action.text == "hangup" ? Server::Failure::kHangUp
                        : action.text == "refuse" ? Server::Failure::kRefuse
                                                  : Server::Failure::kNone);
      break;
    case ActionKind::kServerFreezes:
    case ActionKind::kServerThaws:
      server.SetFrozen(action.kind == ActionKind::kServerFreezes);
      break;
    case ActionKind::kServerDies:
      server.Die();
      break;
    case ActionKind::kServerStarts:
      server.Start();
      break;
    case ActionKind::kServerCold:
      server.SetColdFactor(action.value);
      break;
    default:
      break;
  }
  truth_.servers[action.server].capacity = server.capacity();
  well_since_[action.server] = server.healthy() ? queue_.now() : INT64_MAX;
}

}  // namespace trunkline::sim
