#include "common/config/yaml_text.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace trunkline {
namespace {

constexpr absl::string_view kMergeKey = "<<";

bool IsMergeKey(const YAML::Node& key) { return key.IsScalar() && key.Scalar() == kMergeKey; }

class Merger {
 public:
  // A key that is given twice in one map stays, for the reader to report.
  void Add(const YAML::Node& map) {
    const std::set<std::string> earlier = keys_;
    for (const auto& pair : map) {
      if (IsMergeKey(pair.first)) continue;
      if (pair.first.IsScalar()) {
        if (earlier.contains(pair.first.Scalar())) continue;
        keys_.insert(pair.first.Scalar());
      }
      pairs_.emplace_back(pair.first, pair.second);
    }
    for (const auto& pair : map) {
      if (IsMergeKey(pair.first)) AddMerged(pair.second, pair.first);
    }
  }
  YamlPairs Take() { return std::move(pairs_); }

 private:
  void AddMerged(const YAML::Node& value, const YAML::Node& key) {
    if (value.IsMap()) return AddOne(value, key);
    if (!value.IsSequence()) {
      throw YAML::Exception(key.Mark(), "merge key \"<<\": expected a map or a list of maps");
    }
    for (const YAML::Node& map : value) {
      if (!map.IsMap()) {
        throw YAML::Exception(key.Mark(), "merge key \"<<\": expected a list of maps only");
      }
      AddOne(map, key);
    }
  }
  void AddOne(const YAML::Node& map, const YAML::Node& key) {
    if (++merged_ > kMaxMerges) {
      throw YAML::Exception(key.Mark(),
                            "merge key \"<<\": too many maps, or one that contains itself");
    }
    Add(map);
  }

  int merged_ = 0;
  std::set<std::string> keys_;
  YamlPairs pairs_;
};

// The length of "]:9000" or of ":9000" at the start of `text`, after `close`; 0 if it is not there.
size_t PortLength(absl::string_view text, absl::string_view close) {
  if (text.substr(0, close.size()) != close) return 0;
  size_t end = close.size();
  while (end < text.size() && absl::ascii_isdigit(text[end])) ++end;
  return end > close.size() ? end : 0;
}

bool IsHostOfIpv6(absl::string_view text) {
  return text.find(':') != text.npos && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isxdigit(c) || c == ':' || c == '.';
         });
}

// In a list on one line, "[" and "," may stand before a value without a space.
bool MayPrecedeValue(char c) { return absl::ascii_isspace(c) || c == '[' || c == ','; }

// The address at the start of `text`; empty if there is none.
absl::string_view AddressAt(absl::string_view text) {
  if (text[0] == '*') {
    const size_t port = PortLength(text.substr(1), ":");
    return port > 0 ? text.substr(0, 1 + port) : absl::string_view();
  }
  const size_t close = text.find(']');
  if (text[0] != '[' || close == text.npos || !IsHostOfIpv6(text.substr(1, close - 1))) return {};
  const size_t port = PortLength(text.substr(close), "]:");
  return port > 0 ? text.substr(0, close + port) : absl::string_view();
}

}  // namespace

YamlPairs MergedPairs(const YAML::Node& map) {
  Merger merger;
  merger.Add(map);
  return merger.Take();
}

int FindUnquotedAddress(absl::string_view yaml, std::string* address) {
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(yaml, '\n')) {
    ++number;
    for (size_t at = 1; at < line.size(); ++at) {
      if (line[at] != '[' && line[at] != '*') continue;
      if (!MayPrecedeValue(line[at - 1])) continue;
      const absl::string_view found = AddressAt(line.substr(at));
      if (found.empty()) continue;
      *address = std::string(found);
      return number;
    }
  }
  return 0;
}

absl::string_view FindVariable(absl::string_view text) {
  for (size_t at = text.find("${"); at != text.npos; at = text.find("${", at + 1)) {
    const size_t close = text.find('}', at);
    if (close == text.npos) return {};
    const absl::string_view name = text.substr(at + 2, close - at - 2);
    if (!name.empty() && (absl::ascii_isalpha(name[0]) || name[0] == '_')) {
      return text.substr(at, close - at + 1);
    }
  }
  return {};
}

}  // namespace trunkline
