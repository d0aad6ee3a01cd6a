// trunkctl: the operator's command.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/version.h"
#include "common/program/program.h"
#include "trunkctl/client.h"
#include "trunkctl/commands.h"

namespace trunkline {
namespace {

struct Arguments {
  std::string controller = "127.0.0.1:7070";
  Output output;
  std::string service;
  std::string endpoint;
  double weight = 0;
  int count = 0;
  std::string file;
  std::string kind;
};

CLI::App* AddForService(CLI::App& app, Arguments& arguments, const std::string& name,
                        const std::string& summary) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->add_option("SERVICE", arguments.service, "One service only");
  return command;
}

CLI::App* AddForEndpoint(CLI::App& app, Arguments& arguments, const std::string& name,
                         const std::string& summary) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->add_option("SERVICE", arguments.service, "The service")->required();
  command->add_option("ENDPOINT", arguments.endpoint, "The endpoint's id")->required();
  return command;
}

void Declare(CLI::App& app, Arguments& arguments) {
  app.fallthrough();
  app.require_subcommand(1);
  app.set_version_flag("--version", absl::StrCat("trunkctl ", kVersion));
  app.add_option("--controller", arguments.controller, "The controller's gRPC address")
      ->envname("TRUNKLINE_CONTROLLER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_flag("--json", arguments.output.json, "Print JSON instead of tables");
  app.footer(
      "Exit codes: 0 done, 1 the controller refused, 2 wrong use or configuration, "
      "3 no controller answered.");

  AddForService(app, arguments, "weights", "Weights, utilization and state of the endpoints");
  AddForService(app, arguments, "endpoints", "Endpoints, their agents and what they report");
  app.add_subcommand("services", "Services that are configured");
  app.add_subcommand("proxies", "Proxies, what they hold and carry");
  AddForService(app, arguments, "watch", "Weights at once and at each change")
      ->add_option("--count", arguments.count, "Stop after this many tables (0: never)")
      ->check(CLI::NonNegativeNumber);
  AddForEndpoint(app, arguments, "explain", "Every term that made a weight");
  AddForEndpoint(app, arguments, "drain", "No new flows to an endpoint; running ones finish");
  AddForEndpoint(app, arguments, "undrain", "Take a drained endpoint back");
  AddForEndpoint(app, arguments, "pin", "Set an endpoint's weight by hand")
      ->add_option("WEIGHT", arguments.weight, "0.001 to 10000; the others have mean 1")
      ->required();
  AddForEndpoint(app, arguments, "unpin", "Leave a pinned weight to the policy again");
  app.add_subcommand("snapshot", "What proxies hold or are about to");
  CLI::App* check = app.add_subcommand("check", "Check a configuration file; asks no controller");
  check->add_option("FILE", arguments.file, "The YAML file")->required();
  check->add_option("KIND", arguments.kind, "controller, proxy or agent")
      ->required()
      ->check(CLI::IsMember({"controller", "proxy", "agent"}));
}

int RunEndpointCommand(const std::string& command, ControllerClient& client,
                       const Arguments& arguments) {
  v1::EndpointRequest request;
  request.set_service(arguments.service);
  request.set_endpoint_id(arguments.endpoint);
  if (command == "drain") return Drain(client, arguments.output, request);
  if (command == "undrain") return Undrain(client, arguments.output, request);
  if (command == "unpin") return Unpin(client, arguments.output, request);
  if (command == "pin") {
    v1::PinRequest pin;
    pin.set_service(arguments.service);
    pin.set_endpoint_id(arguments.endpoint);
    pin.set_weight(arguments.weight);
    return Pin(client, arguments.output, pin);
  }
  v1::ExplainWeightRequest explain;
  explain.set_service(arguments.service);
  explain.set_endpoint_id(arguments.endpoint);
  return ExplainEndpoint(client, arguments.output, explain);
}

int Run(const std::string& command, const Arguments& arguments) {
  if (command == "check") return CheckFile(arguments.file, arguments.kind);
  ControllerClient client(arguments.controller);
  if (command == "weights") return ShowWeights(client, arguments.output, arguments.service);
  if (command == "endpoints") return ShowEndpoints(client, arguments.output, arguments.service);
  if (command == "services") return ShowServices(client, arguments.output);
  if (command == "proxies") return ShowProxies(client, arguments.output);
  if (command == "snapshot") return ShowSnapshot(client, arguments.output);
  if (command == "watch") {
    return WatchWeights(client, arguments.output, arguments.service, arguments.count);
  }
  return RunEndpointCommand(command, client, arguments);
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  using namespace trunkline;
  Arguments arguments;
  CLI::App app("Asks a Trunkline controller and gives it orders.", "trunkctl");
  Declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& answer) {  // --help, --version
    app.exit(answer);
    return kOk;
  } catch (const CLI::ParseError& error) {
    std::cerr << "trunkctl: " << error.what() << "\nRun with --help for more information.\n";
    return kUsage;
  }
  return Run(app.get_subcommands().front()->get_name(), arguments);
}
