// Finding a control group by the end of its path, where the path's beginning is in another
// container's namespace. Edge: walks directories through SystemFiles, within bounds. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/system_files.h"

namespace trunkline {

// systemd nests about five deep; Kubernetes below a slice about eight.
inline constexpr int kMaxCgroupSearchDepth = 10;
// A host with thousands of containers has some ten thousand groups; this bounds the walk to well
// under a second.
inline constexpr int kMaxCgroupSearchEntries = 50'000;

// The directory below `top` that ends like `path` after its leading "/.." steps
// ("/../../a.slice/b.scope" looks for a.slice/b.scope). NOT_FOUND when there is none,
// FAILED_PRECONDITION when there are several, RESOURCE_EXHAUSTED when the tree is too large: each
// names the path to configure instead.
absl::StatusOr<std::string> SearchCgroup(const SystemFiles& files, const std::string& top,
                                         absl::string_view path);

}  // namespace trunkline
