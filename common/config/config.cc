#include "common/config/config.h"

#include <google/protobuf/message.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/absl_view.h"
#include "common/base/atomic_file.h"
#include "common/config/config_reader.h"
#include "common/config/yaml_text.h"

namespace trunkline {
namespace {

// Far above any configuration. Keeps the wrong file, such as a log or a disk image, from filling
// memory.
constexpr size_t kMaxConfigBytes = 4 * 1024 * 1024;
// More errors than an operator can use at once would only hide the first ones.
constexpr size_t kMaxErrors = 100;

absl::Status ErrorLines(absl::string_view name, const std::vector<ConfigError>& errors) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min(errors.size(), kMaxErrors); ++i) {
    lines.push_back(absl::StrCat(name, ":", errors[i].line, ": ", errors[i].text));
  }
  if (errors.size() > kMaxErrors) {
    lines.push_back(absl::StrCat(name, ": ", errors.size() - kMaxErrors, " more errors"));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

// Finds tabs first, because yaml-cpp's error for them ("illegal map value") does not name the
// cause.
std::vector<ConfigError> TabsInIndentation(absl::string_view yaml) {
  std::vector<ConfigError> errors;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(yaml, '\n')) {
    ++number;
    const size_t content = line.find_first_not_of(" \t\r");
    if (content == line.npos || line[content] == '#') continue;
    if (line.substr(0, content).find('\t') == line.npos) continue;
    errors.push_back({number, "tab in the indentation; expected spaces"});
  }
  return errors;
}

// Records the lines at which yaml-cpp begins a document.
class DocumentStarts : public YAML::EventHandler {
 public:
  std::vector<int> lines;  // 1 is the first

 private:
  void OnDocumentStart(const YAML::Mark& mark) override { lines.push_back(mark.line + 1); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// Refuses a second document. At a token that cannot begin a value, such as a stray comma, yaml-cpp
// 0.7 produces empty documents without end, and its LoadAll keeps them all; so this function asks
// for two at most.
std::vector<ConfigError> MoreThanOneDocument(const std::string& yaml) {
  DocumentStarts starts;
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  while (starts.lines.size() < 2 && parser.HandleNextDocument(starts)) {
  }
  if (starts.lines.size() < 2) return {};
  const int line = starts.lines.back();
  const std::vector<absl::string_view> lines = absl::StrSplit(yaml, '\n');
  const bool is_marked =
      static_cast<size_t>(line) <= lines.size() && absl::StartsWith(lines[line - 1], "---");
  if (is_marked) {
    return {{line, "expected one YAML document; got several (\"---\")"}};
  }
  return {{line, "not YAML: no value can begin here (a stray comma or bracket?)"}};
}

// Parses the one document of the text and turns yaml-cpp's exceptions into errors. yaml-cpp detects
// an unclosed quotation only in text without a final line break; otherwise the quotation would
// silently swallow the rest of the file.
std::vector<ConfigError> ParseTree(absl::string_view yaml, YAML::Node* root) {
  try {
    const std::string text(absl::StripTrailingAsciiWhitespace(yaml));
    std::vector<ConfigError> errors = MoreThanOneDocument(text);
    if (errors.empty()) *root = YAML::Load(text);
    return errors;
  } catch (const YAML::Exception& error) {
    std::string address;
    if (const int line = FindUnquotedAddress(yaml, &address); line > 0) {
      return {{line,
               absl::StrCat("YAML takes ", address,
                            " for something else than an address; write it in quotation marks: \"",
                            address, "\"")}};
    }
    return {
        {error.mark.is_null() ? 1 : error.mark.line + 1, absl::StrCat("not YAML: ", error.msg)}};
  }
}

std::vector<ConfigError> Parse(absl::string_view yaml, google::protobuf::Message* message) {
  if (yaml.size() > kMaxConfigBytes) {
    return {{1, absl::StrCat("the file has ", yaml.size(), " bytes; expected at most ",
                             kMaxConfigBytes)}};
  }
  if (std::vector<ConfigError> tabs = TabsInIndentation(yaml); !tabs.empty()) return tabs;
  YAML::Node root;
  if (std::vector<ConfigError> errors = ParseTree(yaml, &root); !errors.empty()) return errors;
  if (root.IsNull()) return {{1, "empty; expected lines of the form \"field: value\""}};
  if (!root.IsMap()) {
    return {{root.Mark().line + 1, "expected lines of the form \"field: value\""}};
  }
  ConfigReader reader;
  try {
    reader.Read(root, message);
  } catch (const YAML::Exception& error) {
    return {{error.mark.is_null() ? 1 : error.mark.line + 1, error.msg}};
  }
  return reader.TakeErrors();
}

}  // namespace

absl::Status ParseConfig(std::string_view yaml, std::string_view name,
                         google::protobuf::Message* message) {
  message->Clear();
  const std::vector<ConfigError> errors = Parse(AbslView(yaml), message);
  if (errors.empty()) return absl::OkStatus();
  message->Clear();
  return ErrorLines(AbslView(name), errors);
}

absl::Status LoadConfigFile(const std::string& path, google::protobuf::Message* message) {
  message->Clear();
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  return ParseConfig(*content, path, message);
}

}  // namespace trunkline
