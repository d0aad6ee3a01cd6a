#include "tests/sim/scenario_reader.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/absl_view.h"
#include "common/base/forwarding_mode.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/line_words.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& file) {
    scenario_.file = file;
    const size_t slash = file.rfind('/');
    std::string name = slash == std::string::npos ? file : file.substr(slash + 1);
    if (name.ends_with(".txt")) name.resize(name.size() - 4);
    scenario_.name = std::move(name);
  }

  absl::StatusOr<Scenario> Read(std::string_view text) {
    size_t number = 0;
    while (!text.empty()) {
      const size_t end = text.find('\n');
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      LineWords words(line);
      line_ = static_cast<int>(++number);
      if (words.empty()) continue;
      ReadLine(words);
      words.End();
      if (words.failed()) return Error(words.error());
    }
    return Finish();
  }

 private:
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(scenario_.file, ":", line_, ": ", what));
  }

  void ReadLine(LineWords& words) {
    using Parse = void (Reader::*)(LineWords&);
    static constexpr std::pair<std::string_view, Parse> kLines[] = {
        {"purpose", &Reader::ReadPurpose},
        {"mode", &Reader::ReadMode},
        {"duration", &Reader::ReadDuration},
        {"proxies", &Reader::ReadProxies},
        {"server", &Reader::ReadServer},
        {"servers", &Reader::ReadServers},
        {"request", &Reader::ReadRequest},
        {"load", &Reader::ReadLoad},
        {"burst", &Reader::ReadBurst},
        {"long", &Reader::ReadLong},
        {"timeout", &Reader::ReadTimeout},
        {"objective", &Reader::ReadObjective},
        {"report_interval", &Reader::ReadInterval},
        {"steady", &Reader::ReadSteady},
        {"settle", &Reader::ReadSettle},
        {"watch", &Reader::ReadWatch},
        {"at", &Reader::ReadAt},
        {"expect", &Reader::ReadExpect},
    };
    const std::string first = words.Word("a line's first word");
    std::string known;
    for (const auto& [name, parse] : kLines) {
      if (first == name) return (this->*parse)(words);
      absl::StrAppend(&known, known.empty() ? "" : ", ", AbslView(name));
    }
    words.Fail(absl::StrCat("a line begins with one of ", known, ", not with \"", first, "\""));
  }

  void ReadPurpose(LineWords& words) { scenario_.purpose = words.Rest(); }
  void ReadMode(LineWords& words) {
    constexpr std::array kModes = {ForwardingMode::kTunnel, ForwardingMode::kMessage,
                                   ForwardingMode::kDirect};
    scenario_.mode = kModes.at(words.OneOf({"tunnel", "message", "direct"}));
  }
  void ReadDuration(LineWords& words) { scenario_.duration = words.Duration(); }
  void ReadTimeout(LineWords& words) { scenario_.timeout = words.Duration(); }
  void ReadObjective(LineWords& words) { scenario_.objective = words.Duration(); }
  void ReadInterval(LineWords& words) { scenario_.report_interval = words.Duration(); }
  void ReadProxies(LineWords& words) {
    scenario_.proxies = words.Whole("a number of proxies");
    if (!words.failed() && scenario_.proxies < 1) words.Fail("at least one proxy is expected");
  }

  void ReadProperties(LineWords& words, ServerSpec& server) {
    while (!words.empty()) {
      switch (
          words.OneOf({"cores", "speed", "quota", "memory", "waits", "distance", "agentless"})) {
        case 0:
          server.cores = words.Whole("a number of cores");
          break;
        case 1:
          server.speed = words.Number("a speed");
          break;
        case 2:
          server.quota = words.Number("a number of cores");
          break;
        case 3:
          server.memory = words.Share();
          break;
        case 4:
          server.parallel_waits = words.Whole("a number of requests");
          break;
        case 5:
          server.distance = words.Duration();
          break;
        default:
          server.agentless = true;
      }
    }
    if (!words.failed() && (server.cores < 1 || server.speed <= 0)) {
      words.Fail("a server has at least one core and a speed above 0");
    }
  }
  void AddServer(LineWords& words, ServerSpec server) {
    if (Find(server.name)) return words.Fail(absl::StrCat("there are two servers ", server.name));
    scenario_.servers.push_back(std::move(server));
  }
  void ReadServer(LineWords& words) {
    ServerSpec server{.name = words.Word("a server's name")};
    ReadProperties(words, server);
    AddServer(words, std::move(server));
  }
  // "servers 4 ..." adds a, b, c, d, or s00000 and so on if there are more than letters.
  void ReadServers(LineWords& words) {
    constexpr int kLetters = 26;
    const int count = words.Whole("a number of servers");
    ServerSpec server;
    ReadProperties(words, server);
    for (int i = 0; i < count && !words.failed(); ++i) {
      server.name = count <= kLetters ? std::string(1, static_cast<char>('a' + i))
                                      : absl::StrFormat("s%05d", i);
      if (count <= kLetters) {
        AddServer(words, server);
      } else {
        scenario_.servers.push_back(server);
      }
    }
  }

  void ReadRequest(LineWords& words) {
    words.Expect("cpu");
    scenario_.cpu = words.RandomDuration();
    if (words.Take("wait")) scenario_.wait = words.RandomDuration();
    if (words.Take("bytes")) scenario_.bytes = words.Number("a number of bytes");
  }
  void ReadLoad(LineWords& words) { scenario_.load = words.Share(); }
  void ReadBurst(LineWords& words) {
    scenario_.burst.factor = words.Number("a factor such as 8x", "x");
    words.Expect("for");
    scenario_.burst.length = words.Duration();
    words.Expect("every");
    scenario_.burst.every = words.Duration();
    if (!words.failed() && scenario_.burst.every <= scenario_.burst.length) {
      words.Fail("a burst is shorter than the time from one to the next");
    }
  }
  void ReadLong(LineWords& words) {
    scenario_.long_flows.share = words.Share();
    words.Expect("requests");
    scenario_.long_flows.requests = words.Whole("a number of requests");
    words.Expect("every");
    scenario_.long_flows.every = words.Duration();
    if (!words.failed() && scenario_.long_flows.requests < 1) {
      words.Fail("a flow has at least one request");
    }
  }
  void ReadSteady(LineWords& words) {
    scenario_.steady_from = words.Duration();
    if (words.Take("to")) scenario_.steady_to = words.Duration();
  }
  void ReadSettle(LineWords& words) {
    words.Expect("after");
    scenario_.settle_after = words.Duration();
  }
  void ReadWatch(LineWords& words) { scenario_.watched = ServerIndex(words); }

  std::optional<size_t> Find(std::string_view name) const {
    for (size_t i = 0; i < scenario_.servers.size(); ++i) {
      if (scenario_.servers[i].name == name) return i;
    }
    return std::nullopt;
  }
  size_t ServerIndex(LineWords& words) {
    const std::string name = words.Word("a server's name");
    const std::optional<size_t> found = Find(name);
    if (!found && !words.failed()) {
      words.Fail(absl::StrCat("there is no server \"", name, "\" in the lines above"));
    }
    return found.value_or(0);
  }

  void ReadAt(LineWords& words) {
    Action action{.at = words.Duration()};
    switch (words.OneOf({"load", "server", "agent", "controller"})) {
      case 0:
        action.value = words.Share();
        break;
      case 1:
        action.server = ServerIndex(words);
        ReadServerAction(words, action);
        break;
      case 2:
        action.server = ServerIndex(words);
        ReadAgentAction(words, action);
        break;
      default:
        if (words.OneOf({"dies", "starts"}) == 0) {
          action.kind = ActionKind::kControllerDies;
        } else {
          action.kind = words.Take("empty") ? ActionKind::kControllerStartsEmpty
                                            : ActionKind::kControllerStarts;
        }
    }
    scenario_.actions.push_back(std::move(action));
  }

  static void ReadServerAction(LineWords& words, Action& action) {
    constexpr std::array kKinds = {
        ActionKind::kServerSpeed, ActionKind::kServerSteal,   ActionKind::kServerMemory,
        ActionKind::kServerFails, ActionKind::kServerFreezes, ActionKind::kServerThaws,
        ActionKind::kServerDies,  ActionKind::kServerStarts,  ActionKind::kServerCold};
    action.kind = kKinds.at(words.OneOf(
        {"speed", "neighbour", "memory", "fails", "freezes", "thaws", "dies", "starts", "cold"}));
    switch (action.kind) {
      case ActionKind::kServerSpeed:
        action.value = words.Number("a speed");
        if (!words.failed() && action.value <= 0) words.Fail("a speed above 0 is expected");
        break;
      case ActionKind::kServerSteal:
        action.value = words.Share();
        if (!words.failed() && action.value >= 1) words.Fail("a share below 100% is expected");
        break;
      case ActionKind::kServerMemory:
        action.value = words.Share();
        break;
      case ActionKind::kServerCold:
        action.value = words.Number("a factor such as 3x", "x");
        break;
      case ActionKind::kServerFails:
        action.text = std::array{"reset", "hangup", "refuse", "no"}.at(
            words.OneOf({"reset", "hangup", "refuse", "no"}));
        break;
      default:
        break;
    }
  }
  static void ReadAgentAction(LineWords& words, Action& action) {
    constexpr std::array kKinds = {
        ActionKind::kAgentSilent,  ActionKind::kAgentDies,          ActionKind::kAgentFreezes,
        ActionKind::kAgentRuns,    ActionKind::kAgentClaims,        ActionKind::kAgentReadsIdle,
        ActionKind::kAgentHonest,  ActionKind::kAgentCountsSockets, ActionKind::kAgentLoses,
        ActionKind::kAgentRepeats, ActionKind::kAgentDelays};
    action.kind =
        kKinds.at(words.OneOf({"silent", "dies", "freezes", "runs", "claims", "reads_idle_group",
                               "honest", "counts_sockets", "loses", "repeats", "delays"}));
    switch (action.kind) {
      case ActionKind::kAgentClaims:
        action.text = words.OneOf({"utilization", "work"}) == 0 ? "utilization" : "work";
        action.value = words.Number("a number");
        break;
      case ActionKind::kAgentLoses:
      case ActionKind::kAgentRepeats:
        action.value = words.Share();
        break;
      case ActionKind::kAgentDelays:
        action.value = Seconds(words.Duration());
        break;
      default:
        break;
    }
  }

  void ReadExpect(LineWords& words) {
    constexpr std::array kMeasures = {Measure::kImbalance, Measure::kWeights, Measure::kSwing,
                                      Measure::kMisses,    Measure::kShare,   Measure::kSettle,
                                      Measure::kP99};
    Expectation expectation{.line = line_};
    expectation.measure = kMeasures.at(
        words.OneOf({"max/avg", "weights", "swing", "misses", "share", "settle", "p99"}));
    words.Expect("<=");
    const std::string name = NameOf(expectation.measure);
    if (expectation.measure == Measure::kSettle) {
      expectation.factor = Seconds(words.Duration());
      expectation.text = absl::StrFormat("%s <= %gs", name, expectation.factor);
    } else if (expectation.measure == Measure::kMisses || expectation.measure == Measure::kP99) {
      expectation.factor = words.Number("a factor such as 1.3x", "x");
      expectation.than = words.Word("the name of a rule, such as leastconn");
      if (!words.failed() && !IsRule(expectation.than)) {
        words.Fail(absl::StrCat("there is no rule \"", expectation.than, "\""));
      }
      expectation.text =
          absl::StrFormat("%s <= %gx %s", name, expectation.factor, expectation.than);
    } else {
      expectation.factor = words.Number("a number");
      expectation.text = absl::StrFormat("%s <= %g", name, expectation.factor);
    }
    scenario_.expectations.push_back(std::move(expectation));
  }

  absl::StatusOr<Scenario> Finish() {
    if (scenario_.purpose.empty()) return Error("the line \"purpose ...\" is missing");
    if (scenario_.servers.empty()) return Error("a line \"server ...\" is missing");
    const SimTime end = scenario_.steady_end();
    if (scenario_.steady_from >= end || end > scenario_.duration) {
      return Error("the steady state must begin before it ends and end within the duration");
    }
    for (const ServerSpec& server : scenario_.servers) {
      if (!server.agentless || scenario_.mode != ForwardingMode::kTunnel) continue;
      return Error(absl::StrCat("in mode tunnel, server ", server.name, " needs an agent"));
    }
    std::ranges::stable_sort(scenario_.actions, {}, &Action::at);
    // Endpoints are sorted by id everywhere, so indexes mean the same.
    for (size_t i = 1; i < scenario_.servers.size(); ++i) {
      if (scenario_.servers[i - 1].name > scenario_.servers[i].name) {
        return Error("the servers must be in the order of their names");
      }
    }
    return std::move(scenario_);
  }

  Scenario scenario_;
  int line_ = 0;
};

}  // namespace

absl::StatusOr<Scenario> ReadScenario(const std::string& file, std::string_view text) {
  return Reader(file).Read(text);
}

absl::StatusOr<Scenario> LoadScenario(const std::string& path) {
  std::ifstream stream(path);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream) {
    return absl::NotFoundError(absl::StrCat("the scenario ", path, " cannot be read"));
  }
  return ReadScenario(path, text.str());
}

}  // namespace trunkline::sim
