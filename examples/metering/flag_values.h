// Flag types that the example's programs share: durations ("5ms") and addresses ("127.0.0.1:0").
// Used by main files only.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/net/address.h"

namespace trunkline::metering {

// Turns an error into CLI11's exception, which ends the program with a message and exit code.
inline void Check(const absl::Status& status) {
  if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
}

inline CLI::Option* AddDuration(CLI::App& app, const std::string& name, absl::Duration& value,
                                const std::string& help) {
  return app.add_option_function<std::string>(
      name,
      [&value, name](const std::string& text) {
        if (absl::ParseDuration(text, &value) && value >= absl::ZeroDuration()) return;
        throw CLI::ValidationError(name + ": expected a duration, for example 200ms; got \"" +
                                   text + "\"");
      },
      help);
}

// For flags that have the unit in their name.
inline CLI::Option* AddSeconds(CLI::App& app, const std::string& name, absl::Duration& value,
                               const std::string& help) {
  return app
      .add_option_function<double>(
          name, [&value](double seconds) { value = absl::Seconds(seconds); }, help)
      ->check(CLI::PositiveNumber);
}

inline CLI::Option* AddAddresses(CLI::App& app, const std::string& name,
                                 std::vector<Address>& values, const std::string& help) {
  return app.add_option_function<std::vector<std::string>>(
      name,
      [&values](const std::vector<std::string>& texts) {
        for (const std::string& text : texts) {
          absl::StatusOr<Address> address = ParseAddress(text);
          Check(address.status());
          values.push_back(*std::move(address));
        }
      },
      help);
}

}  // namespace trunkline::metering
