// The command `trunkctl top`: weights and loads, again and again. Confined to the main thread.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "trunkctl/client.h"
#include "trunkctl/commands.h"
#include "trunkctl/render_top.h"

namespace trunkline {

struct TopOptions {
  // Empty selects all services.
  std::string service;
  std::string controller;
  absl::Duration interval = absl::Seconds(1);
  // Stops after this many tables; 0: does not stop.
  int count = 0;
  TopOrder order = TopOrder::kUtilization;
};

// On a terminal draws over the same screen until the key q, and goes on while no controller
// answers. Otherwise, with JSON, or with a count, prints one table after the other. Returns the
// exit code.
int RunTop(ControllerClient& client, const Output& output, const TopOptions& options);

}  // namespace trunkline
