// Finds a control group by the end of its path, for a path that begins in another container's
// namespace. Edge: reads directories through SystemFiles, within bounds. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/system_files.h"

namespace trunkline {

// systemd nests groups about five levels deep, Kubernetes about eight.
inline constexpr int kMaxCgroupSearchDepth = 10;
// A host with thousands of containers has about ten thousand groups. Bounds the search to well
// below 1 s.
inline constexpr int kMaxCgroupSearchEntries = 50'000;

// Returns the directory below `top` that ends like `path` without its leading "/.." steps
// ("/../../a.slice/b.scope" searches for a.slice/b.scope). Returns NOT_FOUND for no match,
// FAILED_PRECONDITION for several and RESOURCE_EXHAUSTED for a tree that is too large; each message
// names the setting that avoids the search.
absl::StatusOr<std::string> SearchCgroup(const SystemFiles& files, const std::string& top,
                                         absl::string_view path);

}  // namespace trunkline
