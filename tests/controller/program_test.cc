// Tests trunkline-controller and trunkctl as processes, on free ports.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/atomic_file.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/controller/program_under_test.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/admin.grpc.pb.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/weights.grpc.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() { WriteConfig("127.0.0.1:0"); }

  std::string Path(const std::string& name) const { return folder_.File(name); }
  void Write(const std::string& name, const std::string& text) { folder_.Write(name, text); }
  // `service` has more fields of the service, one a line.
  void WriteConfig(const std::string& grpc_listen,
                   const std::vector<std::string>& endpoints =
                       {"{endpoint_id: a, weight: 2, address: '127.0.0.1:7073'}",
                        "{endpoint_id: b, weight: 1, address: '127.0.0.1:7074'}"},
                   const std::string& service = "") {
    std::string text = "grpc_listen: " + grpc_listen +
                       "\n"
                       "admin_listen: 127.0.0.1:0\n"
                       "state_file: " +
                       Path(state_) + "\n" + cluster_ +
                       "tick_interval: 50ms\n"
                       "services:\n"
                       "  - name: db\n"
                       "    listen: 127.0.0.1:9000\n" +
                       service + "    endpoints:\n";
    for (const std::string& endpoint : endpoints) text += "      - " + endpoint + "\n";
    Write("controller.yaml", text);
  }
  void StartController() {
    controller_.emplace(
        std::vector<std::string>{"trunkline-controller", "--config", Path("controller.yaml")});
    address_ = controller_->AwaitErr("gRPC listens on ");
  }
  // Starts a controller that must fail, and returns its log.
  std::string FailToStart() {
    ProgramUnderTest controller({"trunkline-controller", "--config", Path("controller.yaml")});
    EXPECT_EQ(controller.Wait(), 1) << controller.err();
    return controller.err();
  }
  int StopController() {
    controller_->Kill(SIGTERM);
    return controller_->Wait();
  }

  // Returns trunkctl's exit code and leaves its output in out_ and err_.
  int Ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"trunkctl", "--controller", address_});
    ProgramUnderTest ctl(std::move(arguments));
    const int code = ctl.Wait();
    out_ = ctl.out();
    err_ = ctl.err();
    return code;
  }
  v1::Snapshot GetSnapshot() {
    auto stub = v1::AdminService::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    v1::GetSnapshotResponse response;
    EXPECT_TRUE(stub->GetSnapshot(&context, {}, &response).ok());
    return response.snapshot();
  }

  const test::ScratchFolder folder_;
  // The next WriteConfig uses this state file, and this line, which names the cluster.
  std::string state_ = "state";
  std::string cluster_;
  std::optional<ProgramUnderTest> controller_;
  std::string address_;
  std::string out_, err_;
};

TEST_F(ProgramTest, TablesShowWeightsServicesAndEndpoints) {
  StartController();
  ASSERT_EQ(Ctl({"weights"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("service db  policy adaptive"));
  EXPECT_THAT(out_, ContainsRegex("\na +1\\.33 +66\\.6%( +-){3} +1\\.33 +- +expected +never +-"))
      << "load that no agent has reported is not 0";
  ASSERT_EQ(Ctl({"services"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("db       127.0.0.1:9000  tunnel  adaptive          2      0\n"));
  ASSERT_EQ(Ctl({"endpoints", "db"}), 0) << err_;
  EXPECT_THAT(out_, ContainsRegex("127\\.0\\.0\\.1:7074 +- +expected +0\\.[0-9]+( +-){11}"));
  ASSERT_EQ(Ctl({"proxies"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("LAST ERROR"));
  ASSERT_EQ(Ctl({"snapshot"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("service db  listens on 127.0.0.1:9000  mode tunnel"));
  ASSERT_EQ(Ctl({"explain", "db", "a"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("P           1.333"));
  EXPECT_THAT(out_, HasSubstr("the operator's figure"));
}

TEST_F(ProgramTest, EveryAddressOfAServiceIsShown) {
  Write("controller.yaml",
        "grpc_listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nstate_file: " + Path(state_) +
            "\nservices:\n  - name: db\n    listen:\n"
            "      - 127.0.0.1:9000\n      - \"[::1]:9000\"\n");
  StartController();
  ASSERT_EQ(Ctl({"services"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("db       127.0.0.1:9000,[::1]:9000  tunnel"));
  ASSERT_EQ(Ctl({"services", "--json"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("\"127.0.0.1:9000\",\n    \"[::1]:9000\"\n"));
  ASSERT_EQ(Ctl({"snapshot"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("service db  listens on 127.0.0.1:9000, [::1]:9000  mode tunnel"));
}

TEST_F(ProgramTest, EveryCommandPrintsJson) {
  StartController();
  for (std::vector<std::string> command :
       std::vector<std::vector<std::string>>{{"weights"},
                                             {"endpoints"},
                                             {"services"},
                                             {"proxies"},
                                             {"snapshot"},
                                             {"explain", "db", "a"},
                                             {"drain", "db", "a"},
                                             {"undrain", "db", "a"},
                                             {"pin", "db", "a", "2"},
                                             {"unpin", "db", "a"},
                                             {"forget", "db"},
                                             {"watch", "--count", "1"}}) {
    const std::string name = command[0];
    command.push_back("--json");
    ASSERT_EQ(Ctl(command), 0) << name << ": " << err_;
    EXPECT_EQ(out_.front(), '{') << name;
    EXPECT_EQ(out_.substr(out_.size() - 2), "}\n") << name;
  }
  ASSERT_EQ(Ctl({"--json", "weights", "db"}), 0);
  EXPECT_THAT(out_, Not(HasSubstr("report_age_seconds"))) << "no report yet";
  EXPECT_THAT(out_, HasSubstr("\"draining\": false")) << "defaults are printed";
}

TEST_F(ProgramTest, OrdersNameTheFirstSnapshotWithThem) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("db/a takes no new flows from snapshot "));
  EXPECT_TRUE(GetSnapshot().services(0).endpoints(0).draining());
  ASSERT_EQ(Ctl({"undrain", "db", "a"}), 0) << err_;
  EXPECT_FALSE(GetSnapshot().services(0).endpoints(0).draining());
  ASSERT_EQ(Ctl({"pin", "db", "b", "4"}), 0) << err_;
  EXPECT_EQ(GetSnapshot().services(0).endpoints(1).weight(), 4);
  ASSERT_EQ(Ctl({"unpin", "db", "b"}), 0) << err_;
  EXPECT_EQ(GetSnapshot().services(0).endpoints(1).weight(), 0.667);
}

TEST_F(ProgramTest, RefusalIsExitCodeOneAndNamesWhatExists) {
  StartController();
  EXPECT_EQ(Ctl({"explain", "db", "absent"}), 1);
  EXPECT_THAT(err_, HasSubstr("known endpoints: a, b"));
  EXPECT_EQ(Ctl({"weights", "web"}), 1);
  EXPECT_THAT(err_, HasSubstr("known services: db"));
  EXPECT_EQ(Ctl({"pin", "db", "a", "-3"}), 1);
  EXPECT_EQ(Ctl({"watch", "web", "--count", "1"}), 1);
}

TEST_F(ProgramTest, WrongUseIsExitCodeTwo) {
  EXPECT_EQ(Ctl({}), 2);
  EXPECT_EQ(Ctl({"drain", "db"}), 2);
  EXPECT_EQ(Ctl({"fly"}), 2);
  EXPECT_EQ(Ctl({"pin", "db", "a", "heavy"}), 2);
  EXPECT_THAT(err_, HasSubstr("--help"));
}

TEST_F(ProgramTest, MisspeltCommandGetsASuggestion) {
  EXPECT_EQ(Ctl({"wieghts"}), 2);
  EXPECT_THAT(err_, HasSubstr("Did you mean \"weights\"?"));
  EXPECT_EQ(Ctl({"--controller", "10.0.0.1:1", "undrian", "db", "a"}), 2);
  EXPECT_THAT(err_, HasSubstr("Did you mean \"undrain\"?"));
  EXPECT_EQ(Ctl({"fly"}), 2);
  EXPECT_THAT(err_, Not(HasSubstr("Did you mean")));
}

TEST_F(ProgramTest, NoAnswerIsExitCodeThreeAndNamesTheRemedy) {
  StartController();
  ASSERT_EQ(StopController(), 0);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"weights"}, {"watch"}}) {
    EXPECT_EQ(Ctl(command), 3);
    EXPECT_THAT(err_, HasSubstr("no controller answers at " + address_));
    EXPECT_THAT(err_, HasSubstr("TRUNKLINE_CONTROLLER"));
    EXPECT_THAT(err_, HasSubstr("trunkline-controller --config"));
  }
}

TEST_F(ProgramTest, ErrorsAreJsonUnderJson) {
  StartController();
  const auto error = [&](std::vector<std::string> command, int code) {
    command.push_back("--json");
    EXPECT_EQ(Ctl(command), code) << command[0];
    EXPECT_EQ(out_, "");
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
    return err_;
  };
  EXPECT_THAT(error({"explain", "db", "absent"}, 1),
              testing::StartsWith("{\"error\": {\"code\": \"NOT_FOUND\", \"message\": \""));
  EXPECT_THAT(error({"wieghts"}, 2), HasSubstr("Did you mean \\\"weights\\\"?"));
  EXPECT_THAT(error({"check", Path("absent.yaml"), "controller"}, 2), HasSubstr("absent.yaml"));
  ASSERT_EQ(StopController(), 0);
  EXPECT_THAT(error({"weights"}, 3), HasSubstr("\"code\": \"UNAVAILABLE\""));
}

TEST_F(ProgramTest, OutputThatCannotBeWrittenIsExitCodeFour) {
  StartController();
  for (const char* command :
       {"weights", "endpoints", "services", "proxies", "snapshot", "explain db a", "drain db a",
        "undrain db a", "pin db a 2", "unpin db a", "forget db", "watch", "weights --json",
        "--help", "--version", "pin --help"}) {
    ProgramUnderTest shell({"sh", "-c",
                            std::string(TRUNKLINE_BIN_DIR) + "/trunkctl --controller " + address_ +
                                " " + command + " >/dev/full"},
                           ProgramUnderTest::kOfTheSystem);
    EXPECT_EQ(shell.Wait(), 4) << command;
    EXPECT_THAT(shell.err(), HasSubstr("standard output failed")) << command;
  }
}

TEST_F(ProgramTest, CheckNamesFileLineAndField) {
  EXPECT_EQ(Ctl({"check", Path("controller.yaml"), "controller"}), 0) << err_;
  Write("bad.yaml", "services:\n  - name: db\n    listen: nine\n");
  EXPECT_EQ(Ctl({"check", Path("bad.yaml"), "controller"}), 2);
  EXPECT_THAT(err_, HasSubstr("bad.yaml:3: services[0].listen"));
  Write(
      "twice.yaml",
      "services:\n  - {name: db, listen: '127.0.0.1:1'}\n  - {name: db, listen: '127.0.0.1:2'}\n");
  EXPECT_EQ(Ctl({"check", Path("twice.yaml"), "controller"}), 2);
  EXPECT_THAT(err_, HasSubstr("services[1].name"));
  EXPECT_EQ(Ctl({"check", Path("controller.yaml"), "proxy"}), 2);
  EXPECT_EQ(Ctl({"check", Path("controller.yaml"), "router"}), 2);
}

TEST_F(ProgramTest, CheckRefusesWhatTheProgramRefuses) {
  Write("controller-2.yaml", "services:\n  - {name: db, listen: 'unix:/run/x.sock'}\n");
  EXPECT_EQ(Ctl({"check", Path("controller-2.yaml"), "controller"}), 2);
  EXPECT_THAT(err_, HasSubstr("services[0].listen: expected host:port"));
  ProgramUnderTest controller(
      {"trunkline-controller", "--config", Path("controller-2.yaml"), "--check-config"});
  EXPECT_EQ(controller.Wait(), 2);
  EXPECT_EQ(controller.err(), err_);
  Write("controller-3.yaml",
        "services:\n  - {name: db, listen: ['10.0.0.1:1', '10.0.0.1:2', '10.0.0.1:1']}\n");
  EXPECT_EQ(Ctl({"check", Path("controller-3.yaml"), "controller"}), 2);
  EXPECT_THAT(err_, HasSubstr("services[0].listen[2]: expected an address of its own"));
  Write("agent.yaml",
        "agent_id: a\ncontroller: 10.0.0.1:7070\ntrunk_advertise: 0.0.0.0:7073\n"
        "services:\n  - {service: db, target: 'unix:/run/s.sock'}\n");
  EXPECT_EQ(Ctl({"check", Path("agent.yaml"), "agent"}), 2);
  EXPECT_THAT(err_, HasSubstr("trunk_advertise: expected the host:port that proxies connect to"));
  Write("proxy.yaml", "proxy_id: p\ncontroller: 10.0.0.1:7070\nhandover_socket: /run/h\n");
  EXPECT_EQ(Ctl({"check", Path("proxy.yaml"), "proxy"}), 2);
  EXPECT_THAT(err_, HasSubstr("handover_socket: requires snapshot_file"));
}

TEST_F(ProgramTest, ControllerRefusesServicesThatShareAName) {
  Write(
      "controller.yaml",
      "services:\n  - {name: db, listen: '127.0.0.1:1'}\n  - {name: db, listen: '127.0.0.1:2'}\n");
  for (const char* flag : {"--check-config", "--config"}) {
    std::vector<std::string> arguments = {"trunkline-controller", "--config",
                                          Path("controller.yaml")};
    if (flag != std::string("--config")) arguments.push_back(flag);
    ProgramUnderTest controller(std::move(arguments));
    EXPECT_EQ(controller.Wait(), 2);
    EXPECT_THAT(controller.err(), HasSubstr("services[1].name"));
  }
}

TEST_F(ProgramTest, SecondControllerOnTheSamePortFailsWithoutHarm) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0);
  std::ifstream file(Path("state"));
  const std::string before((std::istreambuf_iterator<char>(file)), {});
  state_ = "state of its own";
  WriteConfig(address_);
  const std::string log = FailToStart();
  EXPECT_THAT(log, HasSubstr("cannot listen on " + address_));
  EXPECT_THAT(log, HasSubstr("another controller"));
  std::ifstream again(Path("state"));
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(again)), {}), before);
  EXPECT_EQ(Ctl({"weights"}), 0);
}

TEST_F(ProgramTest, SecondControllerWithTheSameStateFileFailsAndLosesNoDrain) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0) << err_;
  const std::string log = FailToStart();
  EXPECT_THAT(log, HasSubstr("state_file " + Path("state") + ": another controller uses it"));
  EXPECT_THAT(log, HasSubstr("Stop the other one, or set state_file"));
  ASSERT_EQ(Ctl({"drain", "db", "b"}), 0) << err_;
  // The kernel releases the lock of a killed controller.
  controller_->Kill(SIGKILL);
  EXPECT_EQ(controller_->Wait(), -SIGKILL);
  StartController();
  const v1::Snapshot snapshot = GetSnapshot();
  EXPECT_TRUE(snapshot.services(0).endpoints(0).draining());
  EXPECT_TRUE(snapshot.services(0).endpoints(1).draining());
}

TEST_F(ProgramTest, StateOfAClusterWithAnotherNameIsRefused) {
  cluster_ = "cluster_id: staging\n";
  WriteConfig("127.0.0.1:0");
  StartController();
  ASSERT_EQ(StopController(), 0) << controller_->err();
  cluster_ = "cluster_id: production\n";
  WriteConfig("127.0.0.1:0");
  const std::string log = FailToStart();
  EXPECT_THAT(log, HasSubstr(Path("state") + " is the state of cluster \"staging\""));
  EXPECT_THAT(log, HasSubstr("\"production\""));
  EXPECT_THAT(log, HasSubstr("Set state_file to the file of this cluster"));
  cluster_ = "cluster_id: staging\n";
  WriteConfig("127.0.0.1:0");
  StartController();
}

TEST_F(ProgramTest, StateCopiedFromAClusterWithoutANameIsRefused) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0) << err_;
  ASSERT_EQ(StopController(), 0) << controller_->err();
  const std::string other = *ReadFile(Path("state"));
  state_ = "mine";
  WriteConfig("127.0.0.1:0");
  StartController();
  ASSERT_EQ(StopController(), 0) << controller_->err();
  const std::string mine = *ReadFile(Path("mine"));
  Write("mine", other);
  const std::string log = FailToStart();
  EXPECT_THAT(log, HasSubstr("the file was copied from another cluster"));
  EXPECT_THAT(log, HasSubstr("remove " + Path("mine") + ".lock"));
  EXPECT_EQ(*ReadFile(Path("mine")), other);
  // A backup of its own is accepted, and a name replaces the generated id.
  Write("mine", mine);
  cluster_ = "cluster_id: production\n";
  WriteConfig("127.0.0.1:0");
  StartController();
  ASSERT_EQ(StopController(), 0) << controller_->err();
  EXPECT_THAT(*ReadFile(Path("mine")), HasSubstr("cluster_id: \"production\""));
}

TEST_F(ProgramTest, OrderlyRestartKeepsEpochDrainsAndPins) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0);
  ASSERT_EQ(Ctl({"pin", "db", "b", "2.5"}), 0);
  const v1::Snapshot before = GetSnapshot();
  ASSERT_EQ(StopController(), 0) << controller_->err();
  StartController();
  const v1::Snapshot after = GetSnapshot();
  EXPECT_EQ(after.id().epoch(), before.id().epoch());
  EXPECT_EQ(after.id().version(), before.id().version() + 1);
  EXPECT_TRUE(after.services(0).endpoints(0).draining());
  EXPECT_EQ(after.services(0).endpoints(1).weight(), 2.5);
}

TEST_F(ProgramTest, EditedAddressesAndEndpointsTakeEffectAtARestart) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0) << err_;
  ASSERT_EQ(Ctl({"drain", "db", "b"}), 0) << err_;
  ASSERT_EQ(Ctl({"pin", "db", "b", "3"}), 0) << err_;
  ASSERT_EQ(StopController(), 0) << controller_->err();
  WriteConfig("127.0.0.1:0", {"{endpoint_id: a, weight: 2, address: '127.0.0.1:7099'}",
                              "{endpoint_id: renamed, address: '127.0.0.1:7074'}"});
  StartController();
  const v1::Snapshot snapshot = GetSnapshot();
  ASSERT_EQ(snapshot.services(0).endpoints_size(), 2) << snapshot.ShortDebugString();
  EXPECT_EQ(snapshot.services(0).endpoints(0).address(), "127.0.0.1:7099");
  EXPECT_TRUE(snapshot.services(0).endpoints(0).draining()) << "the drain was said";
  EXPECT_EQ(snapshot.services(0).endpoints(1).endpoint_id(), "renamed");
  for (const char* line :
       {"endpoint db/a: the configuration changed its address to 127.0.0.1:7099; the state file "
        "had "
        "127.0.0.1:7073",
        "endpoint db/b at 127.0.0.1:7074 leaves",
        "the drain of db/b has no effect: the service has no such endpoint now",
        "the pin of db/b to 3 has no effect: the service has no such endpoint now"}) {
    EXPECT_THAT(controller_->err(), HasSubstr(line));
  }
  // The remedies in the log work.
  EXPECT_EQ(Ctl({"undrain", "db", "b"}), 0) << err_;
  EXPECT_EQ(Ctl({"unpin", "db", "b"}), 0) << err_;
  EXPECT_EQ(Ctl({"drain", "db", "b"}), 1) << "a new drain needs an endpoint";
  EXPECT_EQ(Ctl({"unpin", "db", "b"}), 1) << "it is not pinned any more";
}

TEST_F(ProgramTest, WeightThatTheConfigurationLostHasNoEffectAfterARestart) {
  const std::string service = "    policy: static\n";
  WriteConfig("127.0.0.1:0",
              {"{endpoint_id: a, weight: 8, address: '127.0.0.1:7073'}",
               "{endpoint_id: b, address: '127.0.0.1:7074'}"},
              service);
  StartController();
  EXPECT_EQ(GetSnapshot().services(0).endpoints(0).weight(), 1.78);
  ASSERT_EQ(StopController(), 0) << controller_->err();
  WriteConfig("127.0.0.1:0",
              {"{endpoint_id: a, address: '127.0.0.1:7073'}",
               "{endpoint_id: b, address: '127.0.0.1:7074'}"},
              service);
  StartController();
  EXPECT_EQ(GetSnapshot().services(0).endpoints(0).weight(), 1);
  EXPECT_THAT(controller_->err(),
              HasSubstr("endpoint db/a: the configuration changed its weight from 8 to 0"));
}

TEST_F(ProgramTest, KilledControllerComesBackInALargerEpochWithItsDrains) {
  StartController();
  ASSERT_EQ(Ctl({"drain", "db", "a"}), 0);
  const v1::Snapshot before = GetSnapshot();
  controller_->Kill(SIGKILL);
  EXPECT_EQ(controller_->Wait(), -SIGKILL);
  StartController();
  const v1::Snapshot after = GetSnapshot();
  EXPECT_GT(after.id().epoch(), before.id().epoch())
      << "proxies may hold versions that the file does not know";
  EXPECT_TRUE(after.services(0).endpoints(0).draining());
}

TEST_F(ProgramTest, RestartServesTheWeightsOfAnAgentThatIsNotBackYet) {
  StartController();
  {
    TestAgent agent(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()), "c");
    agent.Join();
    auto stub = v1::WeightService::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    auto watch = stub->WatchWeights(&context, v1::WatchWeightsRequest());
    v1::WatchWeightsResponse response;
    while (watch->Read(&response) && response.table().services(0).endpoints_size() < 3) {
    }
    context.TryCancel();
    watch->Finish();
    ASSERT_EQ(StopController(), 0) << controller_->err();
  }
  StartController();
  const v1::Snapshot snapshot = GetSnapshot();
  ASSERT_EQ(snapshot.services(0).endpoints_size(), 3);
  EXPECT_EQ(snapshot.services(0).endpoints(2).endpoint_id(), "c");
  EXPECT_GT(snapshot.services(0).endpoints(2).weight(), 0);
  ASSERT_EQ(Ctl({"explain", "db", "c"}), 0);
  EXPECT_THAT(out_, HasSubstr("restart"));
}

TEST_F(ProgramTest, BrokenStateFileStopsTheStartAndStaysAsItIs) {
  Write("state", "format: 1 nonsense");
  ProgramUnderTest controller({"trunkline-controller", "--config", Path("controller.yaml")});
  EXPECT_EQ(controller.Wait(), 1);
  EXPECT_THAT(controller.err(), HasSubstr(Path("state")));
  EXPECT_THAT(controller.err(), HasSubstr("move the file away"));
  std::ifstream file(Path("state"));
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(file)), {}), "format: 1 nonsense");
}

TEST_F(ProgramTest, UnwritableStateFileStopsTheStart) {
  Write("controller.yaml", "grpc_listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nstate_file: " +
                               Path("no/such/folder/state") + "\n");
  ProgramUnderTest controller({"trunkline-controller", "--config", Path("controller.yaml")});
  EXPECT_EQ(controller.Wait(), 1);
  EXPECT_THAT(controller.err(), HasSubstr("state_file"));
}

}  // namespace
}  // namespace trunkline
