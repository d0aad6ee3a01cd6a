// trunkctl: the operator's client of the controller.
#include <errno.h>
#include <string.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trunkctl/client.h"
#include "trunkctl/command_line.h"
#include "trunkctl/commands.h"
#include "trunkctl/top.h"

namespace trunkline {
namespace {

int RunEndpointCommand(const CommandLine& line, ControllerClient& client) {
  if (line.command == "drain") return Drain(client, line.output, line.endpoint());
  if (line.command == "undrain") return Undrain(client, line.output, line.endpoint());
  if (line.command == "pin") return Pin(client, line.output, line.endpoint(), line.weight);
  if (line.command == "forget") return Forget(client, line.output, line.endpoint());
  if (line.command == "unpin") return Unpin(client, line.output, line.endpoint());
  return ExplainEndpoint(client, line.output, line.endpoint());
}

int Run(const CommandLine& line) {
  if (line.command == "check") return CheckFile(line.output, line.file, line.kind);
  ControllerClient client(line.controller, line.output.json);
  if (line.command == "weights") return ShowWeights(client, line.output, line.service);
  if (line.command == "endpoints") return ShowEndpoints(client, line.output, line.service);
  if (line.command == "services") return ShowServices(client, line.output);
  if (line.command == "proxies") return ShowProxies(client, line.output);
  if (line.command == "reload") return Reload(client, line.output);
  if (line.command == "snapshot") return ShowSnapshot(client, line.output);
  if (line.command == "top") return RunTop(client, line.output, line.top());
  if (line.command == "history") {
    return ShowHistory(client, line.output, line.endpoint(), line.quantity);
  }
  if (line.command == "watch") {
    return WatchWeights(client, line.output, line.service, line.count);
  }
  return RunEndpointCommand(line, client);
}

// Returns `code`, or kNoOutput if standard output did not take everything: a script must not take
// the beginning of a table for the whole.
int AfterOutput(int code, bool json) {
  errno = 0;
  std::cout.flush();
  if (std::cout.good()) return code;
  PrintError(json, absl::StatusCode::kDataLoss,
             std::string("the output is not complete, because standard output failed: ") +
                 (errno != 0 ? strerror(errno) : "write error"));
  return code == kOk ? kNoOutput : code;
}

}  // namespace
}  // namespace trunkline

int main(int argc, char** argv) {
  using namespace trunkline;
  const absl::StatusOr<CommandLine> line = ReadCommandLine(argc, argv);
  if (!line.ok()) {
    const bool json = std::find(argv + 1, argv + argc, std::string_view("--json")) != argv + argc;
    PrintError(json, line.status().code(),
               std::string(line.status().message()) + "\nRun with --help for more information.");
    return kUsage;
  }
  return AfterOutput(line->command.empty() ? kOk : Run(*line), line->output.json);
}
