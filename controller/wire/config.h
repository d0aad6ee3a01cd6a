// Converts the controller's configuration message to the plain values of the stages.
//
// Checks the rules between fields first (common/config/config_rules.h); the YAML loader has checked
// single fields. Returns INVALID_ARGUMENT with one line for each error, in the form
// "services[2].name: ...". Thread-safe; keeps no state.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "controller/core/service_spec.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

struct ControllerSettings {
  std::string grpc_listen = "127.0.0.1:7070";
  std::string admin_listen = "127.0.0.1:7071";
  // Empty if learned state is not kept across restarts.
  std::string state_file;
  // Empty if the controller generates one.
  std::string cluster_id;
  std::vector<ServiceSpec> services;
  absl::Duration report_interval = absl::Seconds(1);
  absl::Duration tick_interval = absl::Milliseconds(500);
  absl::Duration slow_start = absl::Seconds(30);
  absl::Duration forget_after = absl::Hours(24);
};

absl::StatusOr<ControllerSettings> ReadControllerConfig(const v1::ControllerConfig& config);

}  // namespace trunkline
