#include "examples/metering/frame.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace trunkline::metering {

void AppendFrame(std::string_view message, std::string* out) {
  TRUNKLINE_CHECK(message.size() <= kMaxMessageBytes, "a frame holds its message");
  const uint32_t length = static_cast<uint32_t>(message.size());
  const char header[kFrameHeaderBytes] = {
      static_cast<char>(length >> 24), static_cast<char>(length >> 16),
      static_cast<char>(length >> 8), static_cast<char>(length)};
  out->append(header, sizeof header);
  out->append(message);
}

absl::StatusOr<std::optional<size_t>> FrameSize(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  uint32_t length = 0;
  for (size_t i = 0; i < kFrameHeaderBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(bytes[i]);
  }
  if (length == 0 || length > kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame length ", length, ", expected 1 to ", kMaxMessageBytes));
  }
  return kFrameHeaderBytes + length;
}

absl::StatusOr<std::optional<std::string_view>> TakeFrame(std::string_view* bytes) {
  absl::StatusOr<std::optional<size_t>> size = FrameSize(*bytes);
  if (!size.ok()) return size.status();
  if (!size->has_value() || bytes->size() < **size) return std::nullopt;
  const std::string_view message = bytes->substr(kFrameHeaderBytes, **size - kFrameHeaderBytes);
  bytes->remove_prefix(**size);
  return message;
}

}  // namespace trunkline::metering
