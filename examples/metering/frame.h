// Messages on a byte stream: a 4-byte big-endian length, then so many bytes.
//
// A length comes from a peer, so it is believed only up to kMaxMessageBytes, and before any memory
// is set aside for it. Pure: bytes in, message boundaries out; who reads and writes sockets is
// somebody else.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trunkline::metering {

inline constexpr size_t kFrameHeaderBytes = 4;
// The largest load profile (16 kB, doubled each fourth quarter-hour) and as much again.
inline constexpr size_t kMaxMessageBytes = 64 * 1024;

// Appends the frame of `message`, which is at most kMaxMessageBytes long.
void AppendFrame(std::string_view message, std::string* out);

// The size of the whole frame (header included) that starts `bytes`; nothing when even the header
// is incomplete. INVALID_ARGUMENT when the length is zero or above kMaxMessageBytes.
absl::StatusOr<std::optional<size_t>> FrameSize(std::string_view bytes);

// Takes the first message off `*bytes` (a view into it, valid while the bytes are); nothing when it
// is incomplete.
absl::StatusOr<std::optional<std::string_view>> TakeFrame(std::string_view* bytes);

}  // namespace trunkline::metering
