#include "agent/proc/meminfo.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace trunkline {
namespace {

constexpr uint64_t kKibibyte = 1024;

// Finds the line "Name:   123 kB" and returns the value in bytes.
std::optional<uint64_t> Find(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, name) || !absl::ConsumePrefix(&line, ":")) continue;
    if (!absl::ConsumeSuffix(&line, " kB")) return std::nullopt;
    uint64_t kibibytes = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &kibibytes)) return std::nullopt;
    return kibibytes * kKibibyte;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<HostMemory> ParseMeminfo(absl::string_view proc_meminfo) {
  const std::optional<uint64_t> total = Find(proc_meminfo, "MemTotal");
  if (!total.has_value() || *total == 0) {
    return absl::InvalidArgumentError("meminfo: no MemTotal in kB");
  }
  std::optional<uint64_t> available = Find(proc_meminfo, "MemAvailable");
  if (!available.has_value()) {
    const std::optional<uint64_t> free = Find(proc_meminfo, "MemFree");
    if (!free.has_value()) {
      return absl::InvalidArgumentError("meminfo: neither MemAvailable nor MemFree in kB");
    }
    available = *free + Find(proc_meminfo, "Buffers").value_or(0) +
                Find(proc_meminfo, "Cached").value_or(0);
  }
  return HostMemory{.total_bytes = *total, .available_bytes = std::min(*available, *total)};
}

}  // namespace trunkline
