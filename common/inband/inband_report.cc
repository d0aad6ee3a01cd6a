#include "common/inband/inband_report.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <system_error>

namespace trunkline {
namespace {

// Two numbers and three separators.
constexpr size_t kActiveDigits = std::numeric_limits<uint32_t>::digits10 + 1;
constexpr size_t kUtilizationDigits = 5;
constexpr size_t kMaxRestBytes = kActiveDigits + kUtilizationDigits + 3;
static_assert(ServerLoad::kMaxUtilization < 100'000, "it has kUtilizationDigits at most");
static_assert(kMaxRestBytes < kMaxLoadLineBytes, "a line has room for a name");
constexpr size_t kMaxNameBytes = kMaxLoadLineBytes - kMaxRestBytes;
constexpr std::string_view kUnknownText = "-";

bool IsNameByte(char c) { return c > 0x20 && c < 0x7f; }

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), IsNameByte);
}

// Takes the text up to the next space, and that space, off the front of `line`.
std::string_view TakeField(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view field = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return field;
}

bool ReadNumber(std::string_view text, uint32_t most, uint32_t* to) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, *to);
  return error == std::errc() && stopped == end && *to <= most;
}

}  // namespace

size_t WriteInbandReport(const InbandReport& report, uint8_t* to) {
  if (!IsName(report.service)) return 0;
  char* const begin = reinterpret_cast<char*>(to);
  char* const end = begin + kMaxLoadLineBytes;
  char* at = std::copy(report.service.begin(), report.service.end(), begin);
  *at++ = ' ';
  at = std::to_chars(at, end, report.load.active).ptr;
  *at++ = ' ';
  if (report.load.utilization > ServerLoad::kMaxUtilization) {
    at = std::copy(kUnknownText.begin(), kUnknownText.end(), at);
  } else {
    at = std::to_chars(at, end, report.load.utilization).ptr;
  }
  *at++ = '\n';
  return static_cast<size_t>(at - begin);
}

bool InbandReportReader::Next(std::span<const uint8_t>& bytes, InbandReport* report) {
  if (broken_ || bytes.empty()) return false;
  const auto* const end = static_cast<const uint8_t*>(memchr(bytes.data(), '\n', bytes.size()));
  const size_t size = end == nullptr ? bytes.size() : static_cast<size_t>(end - bytes.data());
  // One more byte for the LF that ends the line, now or later.
  broken_ = size_ + size + 1 > line_.size();
  if (broken_) return false;
  std::copy_n(bytes.begin(), size, line_.begin() + static_cast<ptrdiff_t>(size_));
  size_ += size;
  bytes = bytes.subspan(size + (end == nullptr ? 0 : 1));
  if (end == nullptr) return false;
  broken_ = !Parse({line_.data(), size_}, report);
  size_ = 0;
  return !broken_;
}

bool InbandReportReader::Parse(std::string_view line, InbandReport* report) {
  report->service = TakeField(line);
  if (!IsName(report->service)) return false;
  if (!ReadNumber(TakeField(line), UINT32_MAX, &report->load.active)) return false;
  const std::string_view utilization = TakeField(line);
  report->load.utilization = ServerLoad::kUnknown;
  return utilization == kUnknownText ||
         ReadNumber(utilization, ServerLoad::kMaxUtilization, &report->load.utilization);
}

}  // namespace trunkline
