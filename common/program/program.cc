#include "common/program/program.h"

#include <google/protobuf/message.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <initializer_list>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/base/version.h"
#include "common/config/config.h"
#include "common/observe/log.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

namespace {

constexpr int kAnswered = 0;
constexpr int kFailed = 1;
constexpr int kWrongUse = 2;

struct Flags {
  std::string config_path;
  bool check_config = false;
};

// Returns the field `log` of `config`, or its defaults if the message has no such field.
v1::LogConfig LogConfigOf(const google::protobuf::Message& config) {
  const google::protobuf::FieldDescriptor* field = config.GetDescriptor()->FindFieldByName("log");
  if (field == nullptr || field->is_repeated() ||
      field->message_type() != v1::LogConfig::descriptor()) {
    return {};
  }
  v1::LogConfig log;
  log.CopyFrom(config.GetReflection()->GetMessage(config, field));
  return log;
}

spdlog::level::level_enum LevelOf(const v1::LogConfig& log) {
  switch (log.level()) {
    case v1::LogConfig::LEVEL_DEBUG:
      return spdlog::level::debug;
    case v1::LogConfig::LEVEL_WARN:
      return spdlog::level::warn;
    case v1::LogConfig::LEVEL_ERROR:
      return spdlog::level::err;
    default:
      return spdlog::level::info;
  }
}

void StartLog(const std::string& name, const google::protobuf::Message& config) {
  const v1::LogConfig log = LogConfigOf(config);
  const LogFormat format =
      log.format() == v1::LogConfig::FORMAT_JSON ? LogFormat::kJson : LogFormat::kText;
  InitLog(name, format, LevelOf(log));
}

// Every connection needs a descriptor. The soft limit of 1024 is a default of shells that no
// operator has chosen.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    LogWarn("cannot raise the file descriptor limit to {}; it stays lower and limits connections",
            limit.rlim_max);
}

// Debian builds abseil with its assertions, so each lock would look for deadlocks in a graph of all
// locks, under one lock of the process. Debug builds and tests keep that.
void SkipDeadlockSearch() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

sigset_t SignalSet(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

sigset_t StopSignals() { return SignalSet({SIGTERM, SIGINT}); }
// Other daemons reload or reopen files at these, so scripts and log rotation send them. By default
// they would kill the process without a drain.
sigset_t OtherSignals() { return SignalSet({SIGHUP, SIGUSR1, SIGUSR2}); }

// Threads started later inherit the mask, so that only WaitForStop sees the signals.
void TakeSignals() {
  signal(SIGPIPE, SIG_IGN);
  for (const sigset_t& signals : {StopSignals(), OtherSignals()}) {
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }
}

// Why RequestStop was called; empty if it was not.
struct StopReason {
  absl::Mutex mutex;
  std::string text ABSL_GUARDED_BY(mutex);
};

// Never deleted, because threads may use it until the process ends.
StopReason& TheStopReason() {
  static StopReason& reason = *new StopReason;
  return reason;
}

std::string StopText(int signal) {
  StopReason& reason = TheStopReason();
  absl::MutexLock lock(&reason.mutex);
  if (!reason.text.empty()) return reason.text;
  return absl::StrCat(signal == SIGINT ? "SIGINT" : "SIGTERM", " received");
}

// Flushes standard output, which has the answer to a question on the command line. Returns the exit
// code: a script must not take silence for an answer.
int Answered(const std::string& name) {
  std::cout.flush();
  if (std::cout.good()) return kAnswered;
  PrintToStderr(absl::StrCat(name, ": cannot write to standard output\n"));
  return kFailed;
}

// Returns the exit code, or nullopt to continue. CLI11's exceptions are handled here.
std::optional<int> ParseFlags(const std::string& name, const std::string& summary, int argc,
                              char** argv, Flags* flags) {
  CLI::App app(summary, name);
  app.add_option("--config", flags->config_path, "Configuration file (YAML)")
      ->required()
      ->type_name("FILE");
  app.add_flag("--check-config", flags->check_config, "Check the configuration file and exit");
  app.set_version_flag("--version", absl::StrCat(name, " ", kVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& answer) {  // --help, --version
    app.exit(answer);
    return Answered(name);
  } catch (const CLI::ParseError& error) {
    PrintToStderr(
        absl::StrCat(name, ": ", error.what(), "\nRun with --help for more information.\n"));
    return kWrongUse;
  }
  return std::nullopt;
}

}  // namespace

Program::Program(std::string name, std::string summary)
    : name_(std::move(name)), summary_(std::move(summary)) {}

Program::~Program() { FlushLog(); }

std::optional<int> Program::Start(int argc, char** argv, google::protobuf::Message* config,
                                  const Check& check) {
  Flags flags;
  if (auto exit_code = ParseFlags(name_, summary_, argc, argv, &flags)) return exit_code;
  config_path_ = flags.config_path;
  if (absl::Status loaded = LoadConfigFile(flags.config_path, config); !loaded.ok()) {
    PrintToStderr(absl::StrCat(loaded.message(), "\n"));
    return kWrongUse;
  }
  if (absl::Status checked = check ? check() : absl::OkStatus(); !checked.ok()) {
    std::string lines;
    for (absl::string_view line : absl::StrSplit(checked.message(), '\n')) {
      absl::StrAppend(&lines, flags.config_path, ": ", line, "\n");
    }
    PrintToStderr(std::move(lines));
    return kWrongUse;
  }
  if (flags.check_config) {
    std::cout << flags.config_path << ": ok\n";
    return Answered(name_);
  }
  StartLog(name_, *config);
  SkipDeadlockSearch();
  RaiseDescriptorLimit();
  TakeSignals();
  return std::nullopt;
}

void Program::RequestStop(std::string why) {
  {
    StopReason& reason = TheStopReason();
    absl::MutexLock lock(&reason.mutex);
    reason.text = std::move(why);
  }
  kill(getpid(), SIGTERM);
}

void Program::RequestReload() { kill(getpid(), SIGHUP); }

void Program::WaitForStop(const std::function<void()>& reload) {
  const sigset_t stops = StopSignals();
  sigset_t signals = OtherSignals();
  for (const int stop : {SIGTERM, SIGINT}) sigaddset(&signals, stop);
  int received = 0;
  while (sigwait(&signals, &received) == 0 && sigismember(&stops, received) == 0) {
    if (received == SIGHUP && reload) {
      reload();
    } else if (received == SIGHUP) {
      LogWarn("SIGHUP has no effect: {} reads its configuration at its start only, so restart it",
              name_);
    } else {
      LogWarn("{} has no effect: {} logs to standard error and has no log file to reopen",
              received == SIGUSR1 ? "SIGUSR1" : "SIGUSR2", name_);
    }
  }
  LogInfo("{}; stopping", StopText(received));
  // A second stop signal has its default effect. The others stay blocked.
  pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);
}

int Program::Fail(const std::string& what) {
  LogError("{}", what);
  return kFailed;
}

int Program::Fail(const absl::Status& status) { return Fail(std::string(status.message())); }

}  // namespace trunkline
