#include "controller/core/endpoint_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/base/limits.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/stored_state.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

using testing::HasSubstr;
using Verdict = EndpointRegistry::Verdict;

class EndpointRegistryTest : public testing::Test {
 protected:
  // Announces an agent and an endpoint with the same id.
  absl::Status Join(AgentSession session, const AnnouncedAgent& agent, double at) {
    return registry_.Announce(session, agent, At(at)).status();
  }
  Verdict Say(AgentSession session, uint64_t seq, const ReportedLoad& load, double at) {
    absl::StatusOr<Verdict> verdict = registry_.Report(session, seq, {load}, At(at));
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    return verdict.value_or(Verdict::kUnknownSession);
  }
  const RegisteredEndpoint& Get(const std::string& id) { return **registry_.Find({"db", id}); }
  EndpointCondition StateAt(const std::string& id, double at) {
    registry_.Age(At(at));
    return Get(id).state;
  }

  explicit EndpointRegistryTest(const std::vector<ServiceSpec>& services = {Service(
                                    "db", {{"fixed", 4, "10.0.0.9:7073"}, {"named", 2, ""}})})
      : registry_(services, absl::Seconds(1)) {}

  EndpointRegistry registry_;
};

TEST_F(EndpointRegistryTest, ConfiguredEndpointIsExpectedBeforeAnyReport) {
  EXPECT_EQ(StateAt("fixed", 100), EndpointCondition::kExpected);
  EXPECT_EQ(Get("fixed").address, "10.0.0.9:7073");
  EXPECT_EQ(Get("fixed").operator_capacity, 4);
}

TEST_F(EndpointRegistryTest, UnknownServiceIsRefusedAndTheKnownOnesAreNamed) {
  const absl::Status status = Join(1, Agent("a", "web"), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("\"web\""));
  EXPECT_THAT(status.message(), HasSubstr("db"));
  EXPECT_EQ(registry_.connected_agents(), 0u);
}

TEST_F(EndpointRegistryTest, UnknownServiceAloneIsRefusedAndTheOthersReport) {
  AnnouncedAgent agent = Agent("a");
  agent.endpoints.push_back({{"web", "a"}, 0, 1, ""});
  const auto announced = registry_.Announce(1, agent, At(0));
  ASSERT_TRUE(announced.ok()) << announced.status();
  ASSERT_EQ(announced->refused.size(), 1u);
  EXPECT_EQ(announced->refused[0].key, (EndpointKey{"web", "a"}));
  EXPECT_THAT(announced->refused[0].reason, HasSubstr("known services: db"));
  EXPECT_EQ(registry_.refused_endpoints(), 1u);
  // The agent goes on to report both.
  const auto verdict = registry_.Report(1, 1, {Load("a"), Load("a", 0.5, 100, "web")}, At(0));
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_EQ(*verdict, Verdict::kAccepted);
  EXPECT_EQ(StateAt("a", 0), EndpointCondition::kFresh);
  EXPECT_EQ(registry_.RefusedOfSession(1).size(), 1u);
  registry_.Leave(1);
  EXPECT_EQ(registry_.refused_endpoints(), 0u);
}

TEST_F(EndpointRegistryTest, HeldEndpointAloneIsRefusedAndTakenOnceItsHolderIsSilent) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  AnnouncedAgent both = Agent("b");
  both.endpoints.push_back({{"db", "a"}, 0, 1, ""});
  const auto announced = registry_.Announce(2, both, At(1));
  ASSERT_TRUE(announced.ok()) << announced.status();
  ASSERT_EQ(announced->refused.size(), 1u);
  EXPECT_THAT(announced->refused[0].reason, HasSubstr("held by agent a"));
  const auto say_both = [&](uint64_t seq, double at) {
    return registry_.Report(2, seq, {Load("b"), Load("a", 0.25)}, At(at)).ok();
  };
  ASSERT_TRUE(say_both(1, 1));
  EXPECT_EQ(Get("a").agent_id, "a");
  EXPECT_EQ(Get("a").load->cpu_utilization, 0.5) << "the load of a refused endpoint is ignored";
  const uint64_t generation = registry_.generation();
  ASSERT_TRUE(say_both(2, 5));
  EXPECT_EQ(Get("a").agent_id, "b");
  EXPECT_EQ(Get("a").load->cpu_utilization, 0.25);
  EXPECT_EQ(registry_.refused_endpoints(), 0u);
  EXPECT_NE(registry_.generation(), generation) << "the agent is told";
}

TEST_F(EndpointRegistryTest, ReportWithOldSeqIsDropped) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  EXPECT_EQ(Say(1, 5, Load("a", 0.5), 0), Verdict::kAccepted);
  EXPECT_EQ(Say(1, 5, Load("a", 0.9), 1), Verdict::kOldSequence);
  EXPECT_EQ(Say(1, 4, Load("a", 0.9), 1), Verdict::kOldSequence);
  EXPECT_EQ(Get("a").load->cpu_utilization, 0.5);
}

TEST_F(EndpointRegistryTest, SeqContinuesOverStreamsOfOneBootAndRestartsWithTheNext) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 5, Load("a"), 0);
  ASSERT_TRUE(Join(2, Agent("a"), 1).ok());
  EXPECT_EQ(Say(2, 5, Load("a"), 1), Verdict::kOldSequence);
  ASSERT_TRUE(Join(3, Agent("a", "db", "boot-2"), 2).ok());
  EXPECT_EQ(Say(3, 1, Load("a"), 2), Verdict::kAccepted);
}

TEST_F(EndpointRegistryTest, SilenceMakesStaleAfterThreeAndExpiredAfterTenIntervals) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  EXPECT_EQ(StateAt("a", 3.0), EndpointCondition::kFresh);
  EXPECT_EQ(StateAt("a", 3.1), EndpointCondition::kStale);
  EXPECT_EQ(StateAt("a", 10.0), EndpointCondition::kStale);
  EXPECT_EQ(StateAt("a", 10.1), EndpointCondition::kExpired);
}

TEST_F(EndpointRegistryTest, StaleEndpointIsFreshAfterThreeReports) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  ASSERT_EQ(StateAt("a", 5), EndpointCondition::kStale);
  Say(1, 2, Load("a"), 5);
  EXPECT_EQ(StateAt("a", 5), EndpointCondition::kStale);
  Say(1, 3, Load("a"), 6);
  EXPECT_EQ(StateAt("a", 6), EndpointCondition::kStale);
  Say(1, 4, Load("a"), 7);
  EXPECT_EQ(StateAt("a", 7), EndpointCondition::kFresh);
}

TEST_F(EndpointRegistryTest, ReportsWithAGapBetweenThemAreNotInARow) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  Say(1, 2, Load("a"), 5);
  Say(1, 3, Load("a"), 6);
  Say(1, 4, Load("a"), 12);
  EXPECT_EQ(StateAt("a", 12), EndpointCondition::kStale);
}

TEST_F(EndpointRegistryTest, OrderlyLeaveRemovesTheEndpointAtOnce) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  registry_.Leave(1);
  EXPECT_FALSE(registry_.Find({"db", "a"}).ok());
  EXPECT_EQ(registry_.connected_agents(), 0u);
}

TEST_F(EndpointRegistryTest, ConfiguredEndpointThatLeavesIsExpectedAgain) {
  ASSERT_TRUE(Join(1, Agent("fixed"), 0).ok());
  Say(1, 1, Load("fixed"), 0);
  registry_.Leave(1);
  EXPECT_EQ(StateAt("fixed", 60), EndpointCondition::kExpected);
  EXPECT_EQ(Get("fixed").address, "10.0.0.9:7073");
}

TEST_F(EndpointRegistryTest, BrokenStreamLeavesTheEndpointToAge) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  registry_.Disconnect(1, At(0));
  EXPECT_EQ(StateAt("a", 60), EndpointCondition::kExpired);
  EXPECT_EQ(registry_.connected_agents(), 0u);
}

TEST_F(EndpointRegistryTest, SecondStreamOfAnAgentReplacesTheFirst) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  absl::StatusOr<EndpointRegistry::Announced> second = registry_.Announce(2, Agent("a"), At(1));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->replaced, 1u);
  EXPECT_EQ(Say(1, 9, Load("a"), 1), Verdict::kUnknownSession);
  registry_.Disconnect(1, At(0));
  EXPECT_EQ(registry_.connected_agents(), 1u);
}

TEST_F(EndpointRegistryTest, EndpointOfAReportingAgentIsRefusedToAnother) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  AnnouncedAgent thief = Agent("thief");
  thief.endpoints[0].key.endpoint_id = "a";
  const absl::Status status = Join(2, thief, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("held by agent a at 10.0.0.1:7073"));
}

TEST_F(EndpointRegistryTest, EndpointOfASilentAgentGoesToTheNextThatAnnouncesIt) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  AnnouncedAgent heir = Agent("heir");
  heir.endpoints[0].key.endpoint_id = "a";
  ASSERT_TRUE(Join(2, heir, 5).ok());
  EXPECT_EQ(Get("a").agent_id, "heir");
  const auto displaced = registry_.TakeDisplaced();
  ASSERT_EQ(displaced.size(), 1u);
  EXPECT_EQ(displaced[0].session, 1u);
  EXPECT_THAT(displaced[0].reason,
              HasSubstr("agent heir at " + TrunkAddress("heir") + " took endpoint db/a over"));
  EXPECT_TRUE(registry_.TakeDisplaced().empty()) << "only once";
  // Late reports of the previous owner do not affect the endpoint.
  Say(1, 2, Load("a", 0.99), 5);
  EXPECT_NE(Get("a").load->cpu_utilization, 0.99);
}

TEST_F(EndpointRegistryTest, EndpointThatTheNewAnnouncementLacksIsGone) {
  AnnouncedAgent agent = Agent("a");
  agent.endpoints.push_back({{"db", "b"}, 0, 1, ""});
  ASSERT_TRUE(Join(1, agent, 0).ok());
  ASSERT_TRUE(Join(2, Agent("a"), 1).ok());
  EXPECT_TRUE(registry_.Find({"db", "a"}).ok());
  EXPECT_FALSE(registry_.Find({"db", "b"}).ok());
}

TEST_F(EndpointRegistryTest, ReportOfAnUnannouncedEndpointIsRefused) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  const absl::Status status = registry_.Report(1, 1, {Load("b")}, At(0)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("db/b"));
}

TEST_F(EndpointRegistryTest, RestartOfTheServerUnderARunningAgentBeginsAnIncarnation) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  ReportedLoad load = Load("a");
  load.server_boot_id = "s1";
  Say(1, 1, load, 0);
  const uint64_t first = Get("a").incarnation;
  Say(1, 2, load, 1);
  EXPECT_EQ(Get("a").incarnation, first);
  load.server_boot_id = "s2";
  Say(1, 3, load, 2);
  EXPECT_EQ(Get("a").incarnation, first + 1);
}

TEST_F(EndpointRegistryTest, RestartOfTheAgentAloneBeginsNoIncarnation) {
  AnnouncedAgent agent = Agent("a");
  agent.endpoints[0].server_boot_id = "s1";
  ASSERT_TRUE(Join(1, agent, 0).ok());
  Say(1, 1, Load("a"), 0);
  const uint64_t first = Get("a").incarnation;
  registry_.Disconnect(1, At(1));
  registry_.Age(At(60));
  ASSERT_EQ(Get("a").state, EndpointCondition::kExpired);
  agent.boot_id = "boot-2";
  ASSERT_TRUE(Join(2, agent, 60).ok());
  Say(2, 1, Load("a"), 60);
  EXPECT_EQ(Get("a").incarnation, first) << "the server went on";
  EXPECT_EQ(Get("a").state, EndpointCondition::kFresh) << "after the first report";
}

TEST_F(EndpointRegistryTest, RestartOfAnAgentThatNamesNoOrAnotherServerBeginsAnIncarnation) {
  for (const char* server : {"", "s2"}) {
    SCOPED_TRACE(server);
    AnnouncedAgent agent = Agent("a");
    agent.endpoints[0].server_boot_id = "s1";
    ASSERT_TRUE(Join(1, agent, 0).ok());
    const uint64_t first = Get("a").incarnation;
    registry_.Disconnect(1, At(1));
    agent.boot_id = "boot-2";
    agent.endpoints[0].server_boot_id = server;
    ASSERT_TRUE(Join(2, agent, 2).ok());
    EXPECT_GT(Get("a").incarnation, first);
    registry_.Leave(2);
  }
}

// The agent started first and could only report the host's cores.
TEST_F(EndpointRegistryTest, CoresOfALaterReportReplaceTheAnnouncedOnes) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  const double announced = Get("a").cores;
  ReportedLoad load = Load("a");
  load.cores = announced / 20;
  Say(1, 1, load, 0);
  EXPECT_EQ(Get("a").cores, announced / 20);
  load.cores = 0;
  Say(1, 2, load, 1);
  EXPECT_EQ(Get("a").cores, announced / 20) << "an older agent does not report them";
}

TEST_F(EndpointRegistryTest, ServerThatIsReachableAgainBeginsAnIncarnation) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  ReportedLoad load = Load("a");
  Say(1, 1, load, 0);
  const uint64_t first = Get("a").incarnation;
  load.reachable = false;
  Say(1, 2, load, 1);
  EXPECT_EQ(Get("a").incarnation, first);
  load.reachable = true;
  Say(1, 3, load, 2);
  EXPECT_EQ(Get("a").incarnation, first + 1);
}

TEST_F(EndpointRegistryTest, NewBootOfASilentAgentIsFreshAtOnce) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  ASSERT_EQ(StateAt("a", 20), EndpointCondition::kExpired);
  ASSERT_TRUE(Join(2, Agent("a", "db", "boot-2"), 20).ok());
  Say(2, 1, Load("a"), 20);
  EXPECT_EQ(StateAt("a", 20), EndpointCondition::kFresh);
}

TEST_F(EndpointRegistryTest, FloodOfEndpointsEndsAtTheLimit) {
  AgentSession session = 0;
  absl::Status last;
  for (size_t agent = 0; agent <= kMaxClusterEndpoints / 64 + 1 && last.ok(); ++agent) {
    AnnouncedAgent flood = Agent("flood" + std::to_string(agent));
    for (size_t i = 1; i < kMaxAgentEndpoints; ++i) {
      flood.endpoints.push_back({{"db", flood.agent_id + "-" + std::to_string(i)}, 0, 1, ""});
    }
    last = Join(++session, flood, 0);
  }
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(registry_.size(), kMaxClusterEndpoints);
}

TEST_F(EndpointRegistryTest, DrainAndPinOutliveTheEndpointsAbsence) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  ASSERT_TRUE(registry_.SetDraining({"db", "a"}, true).ok());
  ASSERT_TRUE(registry_.SetPin({"db", "a"}, 2.5).ok());
  registry_.Leave(1);
  ASSERT_TRUE(Join(2, Agent("a"), 1).ok());
  EXPECT_TRUE(Get("a").draining);
  EXPECT_EQ(Get("a").pin, 2.5);
}

TEST_F(EndpointRegistryTest, DrainOfAnUnknownEndpointNamesThoseThatExist) {
  const absl::Status status = registry_.SetDraining({"db", "x"}, true);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("fixed, named"));
  EXPECT_THAT(registry_.SetPin({"web", "x"}, 1).message(), HasSubstr("known services: db"));
}

TEST_F(EndpointRegistryTest, UnconfiguredEndpointIsForgottenAfterADayOfSilence) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  registry_.Disconnect(1, At(0));
  registry_.Age(At(23 * 3600));
  EXPECT_TRUE(registry_.Find({"db", "a"}).ok());
  registry_.Age(At(24 * 3600 + 1));
  EXPECT_FALSE(registry_.Find({"db", "a"}).ok());
}

TEST_F(EndpointRegistryTest, DisplacedAgentTakesItsEndpointBackWhenTheHeirLeaves) {
  ASSERT_TRUE(Join(1, Agent("a"), 0).ok());
  Say(1, 1, Load("a"), 0);
  AnnouncedAgent heir = Agent("heir");
  heir.endpoints[0].key.endpoint_id = "a";
  ASSERT_TRUE(Join(2, heir, 5).ok());
  Say(2, 1, Load("a"), 5);
  Say(2, 2, Load("a"), 6);
  Say(2, 3, Load("a"), 7);
  EXPECT_EQ(Join(3, Agent("a"), 7).code(), absl::StatusCode::kAlreadyExists);
  registry_.Leave(2);
  ASSERT_TRUE(Join(4, Agent("a"), 8).ok());
  Say(4, 2, Load("a"), 8);
  EXPECT_EQ(StateAt("a", 8), EndpointCondition::kFresh);
}

TEST_F(EndpointRegistryTest, RestoredEndpointIsStaleUntilItsFirstReport) {
  StoredState stored;
  stored.endpoints.push_back(
      {.key = {"db", "a"}, .address = "10.0.0.1:7073", .agent_id = "a", .agent_boot_id = "boot-1"});
  registry_.Restore(stored, At(0));
  EXPECT_EQ(StateAt("a", 0), EndpointCondition::kStale);
  const uint64_t before = Get("a").incarnation;
  ASSERT_TRUE(Join(1, Agent("a"), 1).ok());
  Say(1, 77, Load("a"), 1);
  EXPECT_EQ(StateAt("a", 1), EndpointCondition::kFresh);
  EXPECT_EQ(Get("a").incarnation, before) << "the same boot is not a restart";
}

TEST_F(EndpointRegistryTest, SilentEndpointIsForgottenAfterTheConfiguredTime) {
  EndpointRegistry registry({Service("db")}, absl::Seconds(1), absl::Minutes(2));
  ASSERT_TRUE(registry.Announce(1, Agent("a"), At(0)).ok());
  ASSERT_TRUE(registry.Report(1, 1, {Load("a")}, At(0)).ok());
  registry.Age(At(120));
  EXPECT_EQ(registry.size(), 1u);
  registry.Age(At(121));
  EXPECT_EQ(registry.size(), 0u);
}

TEST_F(EndpointRegistryTest, OnlyEndpointsThatDoNotReportCanBeForgotten) {
  for (const char* id : {"a", "b", "c"}) {
    const auto session = static_cast<AgentSession>(id[0]);
    ASSERT_TRUE(Join(session, Agent(id), 0).ok());
    Say(session, 1, Load(id), 0);
  }
  EXPECT_THAT(std::string(registry_.Forget("db", "a").status().message()),
              HasSubstr("db/a reports; stop its agent a"));
  EXPECT_THAT(std::string(registry_.Forget("db", "fixed").status().message()),
              HasSubstr("db/fixed is in the configuration and has no agent"));
  EXPECT_EQ(registry_.Forget("db", "absent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.Forget("web", "").status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(StateAt("a", 5), EndpointCondition::kStale);
  EXPECT_EQ(*registry_.Forget("db", ""), 0u) << "stale ones may return";
  EXPECT_EQ(*registry_.Forget("db", "a"), 1u);
  EXPECT_FALSE(registry_.Find({"db", "a"}).ok());
  ASSERT_EQ(StateAt("b", 20), EndpointCondition::kExpired);
  EXPECT_EQ(*registry_.Forget("db", ""), 2u);
  EXPECT_EQ(registry_.size(), 2u) << "the configured ones";
  // An agent that was not dead announces itself again.
  EXPECT_EQ(Say('b', 2, Load("b"), 21), Verdict::kUnknownSession);
  EXPECT_EQ(registry_.TakeDisplaced().size(), 1u);
}

// Two services in direct mode, whose servers proxies reach at the addresses that agents announce.
class AddressTest : public EndpointRegistryTest {
 protected:
  AddressTest() : EndpointRegistryTest({Direct("db"), Direct("web")}) {}

  static ServiceSpec Direct(const std::string& name) {
    ServiceSpec service = Service(name);
    service.mode = ForwardingMode::kDirect;
    return service;
  }
  static AnnouncedAgent At10005(const std::string& id, const std::string& service) {
    AnnouncedAgent agent = Agent(id, service);
    agent.endpoints[0].server_address = "10.0.0.5:9000";
    return agent;
  }
  std::vector<std::string> Known(const std::string& service) {
    std::vector<std::string> ids;
    for (const RegisteredEndpoint* endpoint : registry_.EndpointsOf(service)) {
      ids.push_back(endpoint->key.endpoint_id);
    }
    return ids;
  }
};

TEST_F(AddressTest, AddressOfADeadServerBelongsToTheServiceThatReusesIt) {
  ASSERT_TRUE(Join(1, At10005("old", "db"), 0).ok());
  Say(1, 1, Load("old"), 0);
  ASSERT_TRUE(Join(2, At10005("new", "web"), 1).ok());
  registry_.Age(At(1));
  EXPECT_EQ(Known("db"), std::vector<std::string>{"old"}) << "both report";
  ASSERT_TRUE(registry_.Report(2, 1, {Load("new", 0.5, 100, "web")}, At(4)).ok());
  registry_.Age(At(4));
  EXPECT_TRUE(Known("db").empty()) << "it fell silent";
  EXPECT_EQ(Known("web"), std::vector<std::string>{"new"});
  const auto notes = registry_.TakeNotes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes[0], HasSubstr("endpoint db/old of agent old leaves: agent new announced its "
                                  "address 10.0.0.5:9000 for web/new"));
}

TEST_F(AddressTest, ServerCountsOnceHoweverManyContainersHadItsAddress) {
  for (int i = 0; i < 5; ++i) {
    const std::string id = "c" + std::to_string(i);
    const auto session = static_cast<AgentSession>(i + 1);
    ASSERT_TRUE(Join(session, At10005(id, "db"), i).ok());
    Say(session, 1, Load(id), i);
    // The container is killed, and the kernel closes its connection.
    if (i < 4) registry_.Disconnect(session, At(i));
  }
  registry_.Age(At(4));
  EXPECT_EQ(Known("db"), std::vector<std::string>{"c4"});
}

TEST_F(AddressTest, AgentWhoseAddressWasTakenWhileItSleptReturnsWithItsNextReport) {
  ASSERT_TRUE(Join(1, At10005("old", "db"), 0).ok());
  Say(1, 1, Load("old"), 0);
  ASSERT_TRUE(Join(2, At10005("new", "db"), 5).ok());
  registry_.Age(At(5));
  EXPECT_EQ(Known("db"), std::vector<std::string>{"new"});
  EXPECT_EQ(Say(1, 2, Load("old"), 6), Verdict::kUnknownSession);
  EXPECT_EQ(registry_.TakeDisplaced().size(), 1u) << "it announces itself again";
}

TEST_F(AddressTest, OneAgentMayHaveSeveralEndpointsAtOneAddress) {
  AnnouncedAgent agent = At10005("a", "db");
  agent.endpoints.push_back(agent.endpoints[0]);
  agent.endpoints[1].key.service = "web";
  ASSERT_TRUE(Join(1, agent, 0).ok());
  registry_.Age(At(100));
  EXPECT_EQ(Known("db").size() + Known("web").size(), 2u);
}

}  // namespace
}  // namespace trunkline
