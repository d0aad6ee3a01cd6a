// What every program's main does first: flags, configuration, logs, limits, signals.
//
//   ProxyConfig config;
//   Program program("trunkline-proxy", "what it does in one line");
//   if (auto exit_code = program.Start(argc, argv, &config)) return *exit_code;
//   ... run ...
//   program.WaitForStop();
//
// Flags: --config FILE, --check-config, --version, --help. Exit codes: 0 asked and answered, 2
// wrong flags or configuration (every error on standard error), 1 anything else. Used by main
// threads only.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace trunkline {

class Program {
 public:
  Program(std::string name, std::string summary);

  // Parses flags, loads the configuration, starts logging by its `log` field, raises the descriptor
  // limit to the hard limit, ignores SIGPIPE, and blocks SIGTERM and SIGINT for WaitForStop. A set
  // result is the exit code. Must be called before any thread is started. `check` looks at the
  // loaded configuration as a whole, also under --check-config; its error lines are printed with
  // the file's name and the exit code is 2.
  using Check = std::function<absl::Status()>;
  std::optional<int> Start(int argc, char** argv, google::protobuf::Message* config,
                           const Check& check = nullptr);

  // As SIGTERM does. From any thread.
  static void RequestStop();

  // Returns at SIGTERM or SIGINT. A second one while stopping ends the process at once.
  void WaitForStop();

  // Logs why the program cannot run and returns its exit code.
  static int Fail(const std::string& what);
  static int Fail(const absl::Status& status);

 private:
  const std::string name_;
  const std::string summary_;
};

}  // namespace trunkline
