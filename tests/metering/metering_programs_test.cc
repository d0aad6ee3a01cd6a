// The three programs as an operator runs them: real processes, real sockets, a real database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "tests/metering/child_process.h"
#include "tests/metering/scratch_dir.h"
#include "tests/metering/test_client.h"

namespace trunkline::metering {
namespace {

using testing::HasSubstr;

std::string Program(const std::string& name) { return std::string(METERING_BIN_DIR) + "/" + name; }

class MeteringProgramsTest : public testing::Test {
 protected:
  std::unique_ptr<ChildProcess> StartStore(const std::vector<std::string>& more = {},
                                           const std::string& listen = "127.0.0.1:0") {
    std::vector<std::string> arguments = {"--database", db_, "--listen", listen};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<ChildProcess>(Program("meterstore"), arguments);
  }
  ChildProcess Collectors(const std::vector<Address>& targets, std::vector<std::string> more) {
    for (const Address& target : targets) {
      more.push_back("--target");
      more.push_back(target.ToString());
    }
    more.insert(more.end(), {"--acked", acked_, "--json", json_});
    return ChildProcess(Program("collectors"), more);
  }
  // Its output and exit code.
  std::pair<std::string, int> Check() {
    ChildProcess check(Program("storecheck"), {"--acked", acked_, "--db", db_});
    std::string output = check.ReadAll();
    return {output, check.Wait()};
  }
  std::string Json() const {
    std::stringstream text;
    text << std::ifstream(json_).rdbuf();
    return text.str();
  }

  ScratchDir dir_;
  const std::string db_ = dir_.File("readings.db");
  const std::string acked_ = dir_.File("acked");
  const std::string json_ = dir_.File("collectors.json");
};

TEST_F(MeteringProgramsTest, FiveHundredCollectorsAreAllAcknowledgedAndStored) {
  auto store = StartStore({"--cost", "0.1ms-0.3ms"});
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors(
      {address}, {"--collectors", "500", "--seconds", "2", "--rate", "250", "--seed", "42"});
  const std::string output = collectors.ReadAll();
  EXPECT_EQ(collectors.Wait(), 0) << output;
  EXPECT_THAT(output, HasSubstr("seed 42"));
  // One period of 2 s: each collector once, and one in a hundred 20 times more.
  EXPECT_THAT(Json(), HasSubstr("\"refused\": 0"));
  const auto [check, exit_code] = Check();
  EXPECT_EQ(exit_code, 0) << check;
  EXPECT_THAT(check, HasSubstr("missing         0"));

  store->Signal(SIGTERM);
  EXPECT_EQ(store->Wait(), 0);
}

TEST_F(MeteringProgramsTest, TheSameReadingsSentAgainAddNoRow) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  std::string first_check;
  for (int run = 0; run < 2; ++run) {
    ChildProcess collectors =
        Collectors({address}, {"--collectors", "100", "--seconds", "0.5", "--rate", "400",
                               "--no-burst", "--first-sequence", "1", "--seed", "7"});
    const std::string output = collectors.ReadAll();
    ASSERT_EQ(collectors.Wait(), 0) << output;
    const auto [check, exit_code] = Check();
    EXPECT_EQ(exit_code, 0);
    if (run == 0) first_check = check;
    EXPECT_EQ(check, first_check);
  }
}

TEST_F(MeteringProgramsTest, KilledServersLoseNothingThatTheyAcknowledged) {
  // Two servers share the database; each is killed in turn under load and starts again at its
  // address.
  std::vector<std::unique_ptr<ChildProcess>> stores;
  std::vector<Address> addresses;
  for (int i = 0; i < 2; ++i) {
    stores.push_back(StartStore({"--cost", "0.1ms-0.3ms"}));
    addresses.push_back(AwaitListening(*stores.back()));
  }
  ChildProcess collectors =
      Collectors(addresses, {"--collectors", "500", "--seconds", "3", "--rate", "400", "--no-burst",
                             "--timeout", "500ms"});
  collectors.ReadLine();  // what it will do
  for (int i = 0; i < 2; ++i) {
    collectors.ReadLine();  // a second has gone by
    stores[i]->Signal(SIGKILL);
    EXPECT_EQ(stores[i]->Wait(), 128 + SIGKILL);
    const auto [check, exit_code] = Check();  // right after the death, before any restart
    EXPECT_EQ(exit_code, 0) << check;
    stores[i] = StartStore({"--cost", "0.1ms-0.3ms"}, addresses[i].ToString());
    AwaitListening(*stores[i]);
  }
  const std::string output = collectors.ReadAll();
  EXPECT_EQ(collectors.Wait(), 0) << output;
  EXPECT_THAT(Json(), testing::Not(HasSubstr("\"resends\": 0")))
      << "the kills must have hit something, else this test shows nothing";
  const auto [check, exit_code] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, AnAcknowledgedReadingOutlivesKillMinusNine) {
  auto store = StartStore();
  TestClient client(AwaitListening(*store));
  client.Send(FrameOf(TestReading(5, 1)));
  const auto ack = client.AwaitAck();
  ASSERT_TRUE(ack.has_value());
  store->Signal(SIGKILL);
  store->Wait();
  char line[64];
  snprintf(line, sizeof line, "5 1 %016lx\n", static_cast<uint64_t>(ack->payload_hash()));
  std::ofstream(acked_) << line;
  const auto [check, exit_code] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, StorecheckFailsAndNamesAReadingThatIsNotThere) {
  auto store = StartStore();
  AwaitListening(*store);
  std::ofstream(acked_) << "5 1 00000000000000aa\n";
  const auto [check, exit_code] = Check();
  EXPECT_EQ(exit_code, 1);
  EXPECT_THAT(check, HasSubstr("meter 5 sequence 1: acknowledged, and in no database"));
}

TEST_F(MeteringProgramsTest, CollectorsWithoutAServerEndInTimeAndFail) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  store->Signal(SIGTERM);
  store->Wait();
  ChildProcess collectors = Collectors(
      {address},
      {"--collectors", "10", "--seconds", "0.2", "--rate", "50", "--no-burst", "--grace", "200ms"});
  EXPECT_THAT(collectors.ReadAll(), HasSubstr("acknowledged    0\n"));
  EXPECT_EQ(collectors.Wait(), 1);
}

TEST_F(MeteringProgramsTest, StoppedCollectorsFinishWhatTheyHaveSent) {
  auto store = StartStore({"--cost", "1ms-2ms"});
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors(
      {address}, {"--collectors", "100", "--seconds", "600", "--rate", "100", "--no-burst"});
  collectors.ReadLine();  // what it will do
  collectors.ReadLine();  // a second has gone by
  collectors.Signal(SIGTERM);
  const std::string output = collectors.ReadAll();
  EXPECT_EQ(collectors.Wait(), 0) << output;
  const auto [check, exit_code] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, HeldConnectionsAreOpenedAndCarryNothing) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors({address}, {"--collectors", "200", "--seconds", "0.5",
                                                   "--rate", "50", "--no-burst", "--keep"});
  EXPECT_THAT(collectors.ReadAll(), HasSubstr("200 held open of 200"));
  EXPECT_EQ(collectors.Wait(), 0);
}

TEST_F(MeteringProgramsTest, VersionIsToldAndAnUnknownFlagRefused) {
  for (const char* program : {"meterstore", "collectors", "storecheck"}) {
    ChildProcess version(Program(program), {"--version"});
    EXPECT_THAT(version.ReadLine(), HasSubstr(program));
    EXPECT_EQ(version.Wait(), 0);
    ChildProcess wrong(Program(program), {"--no-such-flag"});
    EXPECT_NE(wrong.Wait(), 0);
  }
}

}  // namespace
}  // namespace trunkline::metering
