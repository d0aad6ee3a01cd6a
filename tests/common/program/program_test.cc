
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/version.h"
#include "tests/common/base/child_process.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using test::ChildProcess;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr int kKilledBySigterm = 128 + SIGTERM;

class ProgramTest : public testing::Test {
 protected:
  std::string GoodConfig(const std::string& id = "p1", const std::string& more = "") {
    return folder_.Write("proxy.yaml", "proxy_id: " + id + "\ncontroller: 127.0.0.1:7070\n" + more);
  }
  static std::vector<std::string> Command(std::vector<std::string> flags) {
    flags.insert(flags.begin(), PROGRAM_UNDER_TEST);
    return flags;
  }
  static std::pair<int, std::string> Run(std::vector<std::string> flags) {
    return ChildProcess(Command(std::move(flags))).Finish();
  }

  test::ScratchFolder folder_;
};

TEST_F(ProgramTest, HelpNamesEveryFlag) {
  const auto [exit_code, output] = Run({"--help"});
  EXPECT_EQ(exit_code, 0);
  for (const char* text :
       {"Starts and stops.", "--config", "--check-config", "--version", "--help"}) {
    EXPECT_THAT(output, HasSubstr(text));
  }
}

TEST_F(ProgramTest, VersionIsProgramAndNumber) {
  const auto [exit_code, output] = Run({"--version"});
  EXPECT_EQ(exit_code, 0);
  EXPECT_EQ(output, std::string("program-under-test ") + kVersion + "\n");
}

TEST_F(ProgramTest, MissingConfigFlagIsNamed) {
  const auto [exit_code, output] = Run({});
  EXPECT_EQ(exit_code, 2);
  EXPECT_THAT(output, HasSubstr("--config is required"));
}

TEST_F(ProgramTest, UnknownFlagIsNamed) {
  const auto [exit_code, output] = Run({"--config", GoodConfig(), "--frobnicate"});
  EXPECT_EQ(exit_code, 2);
  EXPECT_THAT(output, HasSubstr("--frobnicate"));
}

TEST_F(ProgramTest, ValidConfigIsConfirmed) {
  const std::string path = GoodConfig();
  const auto [exit_code, output] = Run({"--check-config", "--config", path});
  EXPECT_EQ(exit_code, 0);
  EXPECT_EQ(output, path + ": ok\n");
}

TEST_F(ProgramTest, AnswerThatCannotBeWrittenIsAFailure) {
  for (const std::string& flags : {"--check-config --config " + GoodConfig(),
                                   std::string("--version"), std::string("--help")}) {
    ChildProcess program({"/bin/sh", "-c", PROGRAM_UNDER_TEST " " + flags + " >/dev/full"});
    EXPECT_EQ(program.Finish().first, 1) << flags;
  }
}

TEST_F(ProgramTest, EveryConfigErrorIsPrinted) {
  const std::string path = folder_.Write("bad.yaml", "proxy_id: p\nworker: 1\nmax_clients: many\n");
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--check-config", "--config", path},
        std::vector<std::string>{"--config", path}}) {
    const auto [exit_code, output] = Run(flags);
    EXPECT_EQ(exit_code, 2);
    EXPECT_THAT(output, HasSubstr(path + ":2: worker: unknown field; did you mean \"workers\"?\n"));
    EXPECT_THAT(output, HasSubstr(path + ":3: max_clients: expected a whole number"));
    EXPECT_THAT(output, HasSubstr(path + ":1: controller: missing; expected host:port"));
  }
}

TEST_F(ProgramTest, MissingFileIsNamed) {
  const auto [exit_code, output] = Run({"--config", folder_.File("none.yaml")});
  EXPECT_EQ(exit_code, 2);
  EXPECT_THAT(output, HasSubstr(folder_.File("none.yaml")));
}

TEST_F(ProgramTest, StopSignalEndsTheProgramInOrder) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ChildProcess program(Command({"--config", GoodConfig()}));
    EXPECT_EQ(program.ReadLine(), "id p1 descriptors raised");
    program.Signal(signal);
    const auto [exit_code, output] = program.Finish();
    EXPECT_EQ(exit_code, 0);
    EXPECT_THAT(output, HasSubstr(signal == SIGINT ? "SIGINT received" : "SIGTERM received"));
  }
}

TEST_F(ProgramTest, SignalsThatOtherDaemonsReloadAtDoNotEndTheProgram) {
  ChildProcess program(Command({"--config", GoodConfig()}));
  program.ReadLine();
  for (const auto& [signal, name] : {std::pair(SIGHUP, "SIGHUP"), std::pair(SIGUSR1, "SIGUSR1"),
                                     std::pair(SIGUSR2, "SIGUSR2")}) {
    program.Signal(signal);
    EXPECT_THAT(program.ReadLine(), MatchesRegex(std::string(".* warn program-under-test: ") +
                                                 name + " has no effect: program-under-test .*"));
  }
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Finish().first, 0);
}

TEST_F(ProgramTest, HangupWhileTheProgramStopsDoesNotEndIt) {
  ChildProcess program(Command({"--config", GoodConfig("hangs")}));
  program.ReadLine();
  program.Signal(SIGTERM);
  while (program.ReadLine() != "stopping") {
  }
  program.Signal(SIGHUP);
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Finish().first, kKilledBySigterm);
}

TEST_F(ProgramTest, SecondStopSignalEndsTheProgramAtOnce) {
  ChildProcess program(Command({"--config", GoodConfig("hangs")}));
  program.ReadLine();
  program.Signal(SIGTERM);
  while (program.ReadLine() != "stopping") {
  }
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Finish().first, kKilledBySigterm);
}

TEST_F(ProgramTest, SoftDescriptorLimitIsRaised) {
  const std::string limited = "ulimit -Sn 64; exec " PROGRAM_UNDER_TEST " --config " + GoodConfig();
  ChildProcess program({"/bin/sh", "-c", limited});
  EXPECT_EQ(program.ReadLine(), "id p1 descriptors raised");
}

TEST_F(ProgramTest, LogFieldOfTheConfigApplies) {
  ChildProcess program(
      Command({"--config", GoodConfig("p1", "log: {format: json, level: debug}\n")}));
  program.ReadLine();
  EXPECT_THAT(
      program.ReadLine(),
      MatchesRegex(R"(\{"time":"20.*Z","level":"debug","program":"program-under-test",.*)"));
}

TEST_F(ProgramTest, FailureIsLoggedAndExitsWithOne) {
  const auto [exit_code, output] = Run({"--config", GoodConfig("fails")});
  EXPECT_EQ(exit_code, 1);
  EXPECT_THAT(output, HasSubstr("error program-under-test: failed as configured"));
}

}  // namespace
}  // namespace trunkline
