// The command line of trunkctl: its subcommands, options and help. Confined to the main thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "trunkctl/commands.h"
#include "trunkctl/render_history.h"
#include "trunkctl/render_top.h"
#include "trunkctl/top.h"

namespace trunkline {

struct CommandLine {
  // Name of the subcommand, for example "weights".
  std::string command;
  std::string controller = "127.0.0.1:7070";
  Output output;
  // Empty selects all services.
  std::string service;
  std::string endpoint_id;
  double weight = 0;
  int count = 0;
  HistoryQuantity quantity = HistoryQuantity::kWeight;
  TopOrder order = TopOrder::kUtilization;
  double interval_seconds = 1;
  // For the subcommand check.
  std::string file;
  std::string kind;

  EndpointName endpoint() const { return {service, endpoint_id}; }
  TopOptions top() const;
};

// Reads the command line. After --help and --version, which it answers itself, `command` is empty.
// Returns INVALID_ARGUMENT if the command line is wrong.
absl::StatusOr<CommandLine> ReadCommandLine(int argc, char** argv);

}  // namespace trunkline
