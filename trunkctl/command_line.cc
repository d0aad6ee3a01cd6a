#include "trunkctl/command_line.h"

#include <google/protobuf/descriptor.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/version.h"
#include "common/config/config_schema.h"
#include "common/config/config_values.h"
#include "trunkctl/render_history.h"
#include "trunkctl/render_top.h"
#include "trunkctl/top.h"
#include "trunkline/v1/admin.pb.h"

namespace trunkline {
namespace {

CLI::App* AddForService(CLI::App& app, CommandLine& line, const std::string& name,
                        const std::string& summary) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->add_option("SERVICE", line.service, "Name of one service (default: all)");
  return command;
}

CLI::App* AddForEndpoint(CLI::App& app, CommandLine& line, const std::string& name,
                         const std::string& summary) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->add_option("SERVICE", line.service, "Name of the service")->required();
  command->add_option("ENDPOINT", line.endpoint_id, "Id of the endpoint")->required();
  return command;
}

std::string PinHelp() {
  const auto* weight =
      v1::PinRequest::descriptor()->FindFieldByNumber(v1::PinRequest::kWeightFieldNumber);
  return absl::StrCat("The weight, ", Expectation(*weight),
                      "; the other endpoints of the service have mean 1");
}

void AddCommon(CLI::App& app, CommandLine& line) {
  app.fallthrough();
  app.require_subcommand(1);
  app.set_version_flag("--version", absl::StrCat("trunkctl ", kVersion));
  app.add_option("--controller", line.controller, "Address of the controller's gRPC server")
      ->envname("TRUNKLINE_CONTROLLER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_flag("--json", line.output.json, "Print JSON instead of tables");
  app.footer(
      "Exit codes: 0 success, 1 the controller refused the call, 2 the command line or the\n"
      "configuration file is wrong, 3 no controller answered, 4 the output could not be written.");
}

// Names of a value for the command line, in the order of the help.
template <typename Value>
using Names = std::vector<std::pair<std::string, Value>>;

template <typename Value>
void AddChoice(CLI::App& command, const std::string& option, Value& value, const std::string& help,
               const Names<Value>& names) {
  std::vector<std::string> known;
  for (const auto& [name, meant] : names) known.push_back(name);
  const auto take = [&value, names](const std::string& name) {
    value = std::ranges::find(names, name, &std::pair<std::string, Value>::first)->second;
  };
  command.add_option_function<std::string>(option, take, help)
      ->check(CLI::IsMember(known))
      ->type_name("NAME");
}

void AddTop(CLI::App& app, CommandLine& line) {
  CLI::App* top = AddForService(app, line, "top", "Show loads and weights live; the key q quits");
  top->add_option("--interval", line.interval_seconds, "Seconds between two tables")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_option("--count", line.count, "Print this many tables one after the other, then stop")
      ->check(CLI::NonNegativeNumber);
  AddChoice<TopOrder>(*top, "--by", line.order, "Order of the endpoints (default: utilization)",
                      {{"utilization", TopOrder::kUtilization},
                       {"weight", TopOrder::kWeight},
                       {"wait", TopOrder::kWait},
                       {"name", TopOrder::kName}});
}

void AddHistory(CLI::App& app, CommandLine& line) {
  CLI::App* history =
      AddForService(app, line, "history", "Show the last hour, a line of bars for each endpoint");
  history->add_option("ENDPOINT", line.endpoint_id, "Id of one endpoint (default: all)");
  AddChoice<HistoryQuantity>(*history, "--of", line.quantity,
                             "What the bars show (default: weight)",
                             {{"weight", HistoryQuantity::kWeight},
                              {"utilization", HistoryQuantity::kUtilization},
                              {"errors", HistoryQuantity::kErrors},
                              {"wait", HistoryQuantity::kWait}});
}

void AddQuestions(CLI::App& app, CommandLine& line) {
  AddForService(app, line, "weights", "Show the weight, utilization and state of endpoints");
  AddForService(app, line, "endpoints", "Show endpoints with their agents and reported load");
  app.add_subcommand("services", "Show the configured services");
  app.add_subcommand("proxies", "Show proxies with their snapshots and traffic");
  AddForService(app, line, "watch", "Show the weights now and after each change")
      ->add_option("--count", line.count, "Stop after this many tables (0: do not stop)")
      ->check(CLI::NonNegativeNumber);
  AddTop(app, line);
  AddForEndpoint(app, line, "explain", "Show every term of a weight");
  AddHistory(app, line);
  app.add_subcommand("snapshot", "Show the newest snapshot for the proxies");
}

void AddOrders(CLI::App& app, CommandLine& line) {
  AddForEndpoint(app, line, "drain", "Stop new flows to an endpoint; flows in flight finish");
  AddForEndpoint(app, line, "undrain", "Send new flows to a drained endpoint again");
  AddForEndpoint(app, line, "pin", "Fix an endpoint's weight")
      ->add_option("WEIGHT", line.weight, PinHelp())
      ->required();
  AddForEndpoint(app, line, "unpin", "Return a pinned weight to the service's policy");
  CLI::App* forget = app.add_subcommand("forget", "Remove endpoints whose agents are gone");
  forget->add_option("SERVICE", line.service, "Name of the service")->required();
  forget->add_option("ENDPOINT", line.endpoint_id,
                     "Id of one endpoint (default: all expired ones of the service)");
  app.add_subcommand("reload", "Make the controller read its configuration file again");
}

void AddCheck(CLI::App& app, CommandLine& line) {
  CLI::App* check = app.add_subcommand("check", "Check a configuration file, without a controller");
  check->add_option("FILE", line.file, "Path of the YAML file")->required();
  check->add_option("KIND", line.kind, "controller, proxy or agent")
      ->required()
      ->check(CLI::IsMember({"controller", "proxy", "agent"}));
}

// Returns a hint if the first argument that is no option looks like a misspelt command.
std::string NearestCommand(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--controller") ++i;
    if (absl::StartsWith(argument, "-")) continue;
    if (std::find(names.begin(), names.end(), argument) != names.end()) return "";
    const std::string nearest = NearestName(argument, names);
    return nearest.empty() ? "" : absl::StrCat("\nDid you mean \"", nearest, "\"?");
  }
  return "";
}

}  // namespace

TopOptions CommandLine::top() const {
  return {.service = service,
          .controller = controller,
          .interval = absl::Seconds(interval_seconds),
          .count = count,
          .order = order};
}

absl::StatusOr<CommandLine> ReadCommandLine(int argc, char** argv) {
  CommandLine line;
  CLI::App app("Queries and administers a Trunkline controller.", "trunkctl");
  AddCommon(app, line);
  AddQuestions(app, line);
  AddOrders(app, line);
  AddCheck(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& answer) {  // --help, --version
    app.exit(answer);
    return CommandLine{};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), NearestCommand(app, argc, argv)));
  }
  line.command = app.get_subcommands().front()->get_name();
  return line;
}

}  // namespace trunkline
