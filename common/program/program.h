// Starts a program: flags, configuration, logs, limits and signals.
//
//   ProxyConfig config;
//   Program program("trunkline-proxy", "A summary in one line.");
//   if (auto exit_code = program.Start(argc, argv, &config)) return *exit_code;
//   ... run ...
//   program.WaitForStop();
//
// Flags: --config FILE, --check-config, --version, --help. Exit codes: 0 for success, 2 for wrong
// flags or a wrong configuration (all errors on standard error), 1 for any other failure. Used by
// the main thread only, except RequestStop.
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
  // Gives the last log lines time to be written, but does not wait for a full pipe.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Parses flags, loads the configuration, starts logging by its `log` field, raises the descriptor
  // limit to the hard limit, ignores SIGPIPE, and blocks the signals that WaitForStop handles.
  // Returns the exit code if the program must exit. Called before any thread starts. `check`
  // examines the whole configuration, with --check-config as well; its error lines are printed with
  // the name of the file, and the exit code is 2.
  using Check = std::function<absl::Status()>;
  std::optional<int> Start(int argc, char** argv, google::protobuf::Message* config,
                           const Check& check = nullptr);

  // The configuration file, once Start has read it.
  const std::string& config_path() const { return config_path_; }

  // Stops the program like SIGTERM; the log says `why` instead of the signal. Thread-safe.
  static void RequestStop(std::string why);
  // Acts like SIGHUP. Thread-safe.
  static void RequestReload();

  // Returns at SIGTERM or SIGINT. A second one ends the process at once. SIGHUP calls `reload`;
  // without one, SIGHUP is logged and has no other effect. The same holds for SIGUSR1 and SIGUSR2,
  // and for all three while the program stops.
  void WaitForStop(const std::function<void()>& reload = nullptr);

  // Logs why the program cannot run and returns its exit code.
  static int Fail(const std::string& what);
  static int Fail(const absl::Status& status);

 private:
  const std::string name_;
  const std::string summary_;
  std::string config_path_;
};

}  // namespace trunkline
