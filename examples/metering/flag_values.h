// Flag types that the example's programs share: durations ("5ms"), addresses ("127.0.0.1:0"). For
// main files.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/net/address.h"

namespace trunkline::metering {

// An error in a flag ends the program with CLI11's message and exit code.
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

// For flags whose unit is in their name.
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
