// Messages on a byte stream: a 4-byte big-endian length, then that many bytes.
//
// A length from a peer is checked against kMaxMessageBytes before any memory is allocated for it.
// Pure: bytes in, message boundaries out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trunkline::metering {

inline constexpr size_t kFrameHeaderBytes = 4;
// Twice the largest load profile (16 kB, doubled in each fourth quarter-hour).
inline constexpr size_t kMaxMessageBytes = 64 * 1024;

// Appends the frame of `message`, which is at most kMaxMessageBytes long.
void AppendFrame(std::string_view message, std::string* out);

// Returns the size of the frame (header included) at the start of `bytes`, or nullopt if the header
// is incomplete. INVALID_ARGUMENT means that the length is zero or above kMaxMessageBytes.
absl::StatusOr<std::optional<size_t>> FrameSize(std::string_view bytes);

// Removes the first message from `*bytes` and returns a view of it, valid as long as the bytes.
// Returns nullopt if the message is incomplete.
absl::StatusOr<std::optional<std::string_view>> TakeFrame(std::string_view* bytes);

}  // namespace trunkline::metering
