// Tests the three programs as an operator runs them, with processes, sockets and a database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/net/address.h"
#include "tests/common/base/child_process.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/metering/test_client.h"

namespace trunkline::metering {
namespace {

using test::ChildProcess;
using testing::HasSubstr;

std::string Program(const std::string& name) { return std::string(METERING_BIN_DIR) + "/" + name; }

// Reads "listening on ADDRESS".
Address AwaitListening(ChildProcess& server) {
  const std::string line = server.ReadLine();
  const std::string prefix = "listening on ";
  EXPECT_EQ(line.substr(0, prefix.size()), prefix) << line;
  auto address = ParseAddress(line.substr(std::min(line.size(), prefix.size())));
  EXPECT_TRUE(address.ok()) << address.status();
  return address.ok() ? *address : Address();
}

class MeteringProgramsTest : public testing::Test {
 protected:
  std::unique_ptr<ChildProcess> StartStore(const std::vector<std::string>& more = {},
                                           const std::string& listen = "127.0.0.1:0") {
    std::vector<std::string> arguments = {Program("meterstore"), "--database", db_, "--listen",
                                          listen};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<ChildProcess>(arguments);
  }
  ChildProcess Collectors(const std::vector<Address>& targets, std::vector<std::string> more) {
    more.insert(more.begin(), Program("collectors"));
    for (const Address& target : targets) {
      more.push_back("--target");
      more.push_back(target.ToString());
    }
    more.insert(more.end(), {"--acked", acked_, "--json", json_});
    return ChildProcess(more);
  }
  // Returns storecheck's exit code and output.
  std::pair<int, std::string> Check() {
    return ChildProcess({Program("storecheck"), "--acked", acked_, "--db", db_}).Finish();
  }
  std::string Json() const {
    std::stringstream text;
    text << std::ifstream(json_).rdbuf();
    return text.str();
  }

  test::ScratchFolder dir_;
  const std::string db_ = dir_.File("readings.db");
  const std::string acked_ = dir_.File("acked");
  const std::string json_ = dir_.File("collectors.json");
};

TEST_F(MeteringProgramsTest, FiveHundredCollectorsAreAllAcknowledgedAndStored) {
  auto store = StartStore({"--cost", "0.1ms-0.3ms"});
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors(
      {address}, {"--collectors", "500", "--seconds", "2", "--rate", "250", "--seed", "42"});
  const auto [collected, output] = collectors.Finish();
  EXPECT_EQ(collected, 0) << output;
  EXPECT_THAT(output, HasSubstr("seed 42"));
  // In the one period of 2 s each collector sends once, and one in a hundred sends 20 more.
  EXPECT_THAT(Json(), HasSubstr("\"refused\": 0"));
  const auto [exit_code, check] = Check();
  EXPECT_EQ(exit_code, 0) << check;
  EXPECT_THAT(check, HasSubstr("missing         0"));

  store->Signal(SIGTERM);
  EXPECT_EQ(store->Finish().first, 0);
}

TEST_F(MeteringProgramsTest, ResentReadingsAddNoRow) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  std::string first_check;
  for (int run = 0; run < 2; ++run) {
    ChildProcess collectors =
        Collectors({address}, {"--collectors", "100", "--seconds", "0.5", "--rate", "400",
                               "--no-burst", "--first-sequence", "1", "--seed", "7"});
    const auto [collected, output] = collectors.Finish();
    ASSERT_EQ(collected, 0) << output;
    const auto [exit_code, check] = Check();
    EXPECT_EQ(exit_code, 0);
    if (run == 0) first_check = check;
    EXPECT_EQ(check, first_check);
  }
}

TEST_F(MeteringProgramsTest, KilledServersLoseNoAcknowledgedReading) {
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
  collectors.ReadLine();  // the settings of the run
  for (int i = 0; i < 2; ++i) {
    collectors.ReadLine();  // the first progress line, after 1 s
    stores[i]->Signal(SIGKILL);
    EXPECT_EQ(stores[i]->Finish().first, 128 + SIGKILL);
    const auto [exit_code, check] = Check();  // right after the death, before any restart
    EXPECT_EQ(exit_code, 0) << check;
    stores[i] = StartStore({"--cost", "0.1ms-0.3ms"}, addresses[i].ToString());
    AwaitListening(*stores[i]);
  }
  const auto [collected, output] = collectors.Finish();
  EXPECT_EQ(collected, 0) << output;
  EXPECT_THAT(Json(), testing::Not(HasSubstr("\"resends\": 0")))
      << "the kills must interrupt deliveries, or this test proves nothing";
  const auto [exit_code, check] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, AcknowledgedReadingSurvivesSigkill) {
  auto store = StartStore();
  TestClient client(AwaitListening(*store));
  client.Send(FrameOf(TestReading(5, 1)));
  const auto ack = client.AwaitAck();
  ASSERT_TRUE(ack.has_value());
  store->Signal(SIGKILL);
  store->Finish();
  char line[64];
  snprintf(line, sizeof line, "5 1 %016lx\n", static_cast<uint64_t>(ack->payload_hash()));
  std::ofstream(acked_) << line;
  const auto [exit_code, check] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, StorecheckNamesAMissingReading) {
  auto store = StartStore();
  AwaitListening(*store);
  std::ofstream(acked_) << "5 1 00000000000000aa\n";
  const auto [exit_code, check] = Check();
  EXPECT_EQ(exit_code, 1);
  EXPECT_THAT(check, HasSubstr("meter 5 sequence 1: acknowledged, and in no database"));
}

TEST_F(MeteringProgramsTest, CollectorsWithoutAServerFailInTime) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  store->Signal(SIGTERM);
  store->Finish();
  ChildProcess collectors = Collectors(
      {address},
      {"--collectors", "10", "--seconds", "0.2", "--rate", "50", "--no-burst", "--grace", "200ms"});
  const auto [collected, output] = collectors.Finish();
  EXPECT_EQ(collected, 1);
  EXPECT_THAT(output, HasSubstr("acknowledged    0\n"));
}

TEST_F(MeteringProgramsTest, StoppedCollectorsFinishSentReadings) {
  auto store = StartStore({"--cost", "1ms-2ms"});
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors(
      {address}, {"--collectors", "100", "--seconds", "600", "--rate", "100", "--no-burst"});
  collectors.ReadLine();  // the settings of the run
  collectors.ReadLine();  // the first progress line, after 1 s
  collectors.Signal(SIGTERM);
  const auto [collected, output] = collectors.Finish();
  EXPECT_EQ(collected, 0) << output;
  const auto [exit_code, check] = Check();
  EXPECT_EQ(exit_code, 0) << check;
}

TEST_F(MeteringProgramsTest, HeldConnectionsAreOpened) {
  auto store = StartStore();
  const Address address = AwaitListening(*store);
  ChildProcess collectors = Collectors({address}, {"--collectors", "200", "--seconds", "0.5",
                                                   "--rate", "50", "--no-burst", "--keep"});
  const auto [collected, output] = collectors.Finish();
  EXPECT_EQ(collected, 0);
  EXPECT_THAT(output, HasSubstr("200 held open of 200"));
}

TEST_F(MeteringProgramsTest, VersionIsPrintedAndUnknownFlagRefused) {
  for (const char* program : {"meterstore", "collectors", "storecheck"}) {
    const auto [exit_code, version] = ChildProcess({Program(program), "--version"}).Finish();
    EXPECT_EQ(exit_code, 0);
    EXPECT_THAT(version, HasSubstr(program));
    EXPECT_NE(ChildProcess({Program(program), "--no-such-flag"}).Finish().first, 0);
  }
}

}  // namespace
}  // namespace trunkline::metering
