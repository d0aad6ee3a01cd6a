// The simulator's command line; docs/simulator.md describes it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "tests/sim/chart.h"
#include "tests/sim/cluster.h"
#include "tests/sim/experiment.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/scenario_reader.h"
#include "tests/sim/scenario_writer.h"
#include "tests/sim/search.h"

namespace trunkline::sim {
namespace {

struct CommandLine {
  std::string folder = "tests/scenarios";
  std::vector<std::string> scenarios;
  std::vector<std::string> rules;
  uint64_t first_seed = 1;
  int seeds = 3;
  bool check = false;
  std::string charts;  // folder; empty: none
  int search = 0;      // random scenarios to try; 0: none
};

std::vector<std::string> AllScenarios(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  }
  std::ranges::sort(names);
  return names;
}

// Draws the first seed's run of each rule. Returns false if a file cannot be written.
bool Draw(const Scenario& scenario, const CommandLine& line) {
  std::error_code error;
  std::filesystem::create_directories(line.charts, error);
  for (const std::string& rule : line.rules) {
    const RunResult result =
        Cluster(scenario, {.rule = rule, .seed = line.first_seed, .p99_by_second = true}).Run();
    const std::string path = line.charts + "/" + scenario.name + "-" + rule + ".svg";
    std::ofstream file(path);
    file << DrawRun(scenario, rule, result);
    if (file.flush()) continue;
    std::fprintf(stderr, "%s cannot be written\n", path.c_str());
    return false;
  }
  return true;
}

// Returns the exit code.
int RunSearch(const CommandLine& line) {
  const std::optional<Scenario> found = Search(line.first_seed, line.search);
  if (!found.has_value()) {
    std::printf("%d random scenarios violate no check\n", line.search);
    return 0;
  }
  std::fputs(WriteScenario(*found).c_str(), stdout);
  return 1;
}

// Returns the exit code.
int Run(CommandLine line) {
  if (line.search > 0) return RunSearch(line);
  if (line.scenarios.empty()) line.scenarios = AllScenarios(line.folder);
  if (line.rules.empty()) line.rules.assign(RuleNames().begin(), RuleNames().end());
  bool missed = false;
  for (const std::string& name : line.scenarios) {
    const absl::StatusOr<Scenario> scenario = LoadScenario(line.folder + "/" + name + ".txt");
    if (!scenario.ok()) {
      std::fprintf(stderr, "%s\n", std::string(scenario.status().message()).c_str());
      return 2;
    }
    const std::vector<std::string> rules =
        line.check ? WithNeededRules(*scenario, line.rules) : line.rules;
    const Outcome outcome = RunExperiment(*scenario, rules, line.first_seed, line.seeds);
    std::fputs(DescribeOutcome(*scenario, outcome).c_str(), stdout);
    if (line.check) {
      const std::vector<Verdict> verdicts = Verify(*scenario, outcome);
      std::fputs(DescribeVerdicts(verdicts).c_str(), stdout);
      missed |= std::ranges::any_of(verdicts, [](const Verdict& one) { return !one.kept; });
    }
    std::fputs("\n", stdout);
    std::fflush(stdout);
    if (!line.charts.empty() && !Draw(*scenario, line)) return 2;
  }
  return missed ? 1 : 0;
}

}  // namespace
}  // namespace trunkline::sim

int main(int argc, char** argv) {
  trunkline::sim::CommandLine line;
  CLI::App app{"Simulates clusters with the production controller and pick, in virtual time."};
  app.add_option("--scenario", line.scenarios, "A scenario's name; may be repeated. Default: all");
  app.add_option("--policy", line.rules, "A pick rule; may be repeated. Default: all")
      ->check([](const std::string& name) {
        return trunkline::sim::IsRule(name) ? "" : "there is no pick rule \"" + name + "\"";
      });
  app.add_option("--seeds", line.seeds, "Runs of each, with seeds from --first-seed on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--first-seed", line.first_seed)->capture_default_str();
  app.add_option("--folder", line.folder, "Folder of the scenarios")->capture_default_str();
  app.add_flag("--check", line.check, "Exit with 1 if an expectation of a scenario is missed");
  app.add_option("--svg", line.charts, "Folder for charts of the first seed's runs");
  app.add_option("--search", line.search,
                 "Try this many random scenarios; print the first that violates a check, shrunk");
  CLI11_PARSE(app, argc, argv);
  return trunkline::sim::Run(line);
}
