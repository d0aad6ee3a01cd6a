// Adds to yaml-cpp what it lacks for configuration files: merge keys, and errors that name the
// cause of common mistakes. Pure. Thread-safe; keeps no state.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace trunkline {

// Maps that one map may merge, those of their own merge keys included. An anchor may refer to
// itself.
constexpr int kMaxMerges = 100;

using YamlPairs = std::vector<std::pair<YAML::Node, YAML::Node>>;

// Returns the pairs of `map` with its merge keys ("<<: *defaults", or a list of maps) replaced by
// the pairs of those maps. Pairs of the map itself win over merged ones, and earlier maps over
// later ones. Throws YAML::Exception with the position of a merge key that is wrong.
YamlPairs MergedPairs(const YAML::Node& map);

// Finds an address that YAML takes for something else, "[::]:9000" or "*:9000" without quotation
// marks, in a file that is not YAML. Returns its 1-based line and sets `*address`; 0 if there is
// none.
int FindUnquotedAddress(absl::string_view yaml, std::string* address);

// Returns the first "${NAME}" in `text`, empty if there is none.
absl::string_view FindVariable(absl::string_view text);

}  // namespace trunkline
