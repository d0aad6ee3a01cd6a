// The in-band load report: the load of a service as an agent sends it on a trunk, one line of text
// per service.
//
// Weights are a second old when proxies use them. The requests in flight at a server change within
// milliseconds and come from all proxies together, so only its agent knows them. A line is
//
//   service SP active SP utilization [SP more] LF      "metering 17 523"
//
// active: streams of the service, of all proxies, that currently count as load (flow_activity.h);
// utilization: in thousandths, "-" if unknown; more: additions of later versions. The format is
// text because 20 lines per second cost nothing and `curl` can show them. docs/trunk-format.md has
// the whole exchange.
//
// Pure; no allocation. Externally synchronized.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trunkline {

// The path that a proxy GETs to subscribe.
inline constexpr std::string_view kLoadPath = "/trunkline.load";
// The setting by which an agent announces that it answers, and its version. The id is from the
// range that HTTP/2 reserves for experiments.
inline constexpr int32_t kOffersLoadSetting = 0xf001;
inline constexpr uint32_t kLoadVersion = 1;

// Per service on one load stream: the least time between reports, and the time after which an
// unchanged load is reported again.
inline constexpr int64_t kInbandReportGapMillis = 50;
inline constexpr int64_t kInbandReportRepeatMillis = 2000;

// The longest line, with its LF. A service whose name does not fit is not reported.
inline constexpr size_t kMaxLoadLineBytes = 256;

struct ServerLoad {
  static constexpr uint32_t kMaxUtilization = 99'999;
  static constexpr uint32_t kUnknown = kMaxUtilization + 1;

  uint32_t active = 0;
  uint32_t utilization = kUnknown;  // thousandths
  friend bool operator==(const ServerLoad&, const ServerLoad&) = default;
};

struct InbandReport {
  std::string_view service;
  ServerLoad load;
};

// Writes a line to `to`, which has room for kMaxLoadLineBytes. Returns its size; 0 if the service's
// name is too long or has bytes other than visible ASCII.
size_t WriteInbandReport(const InbandReport& report, uint8_t* to);

// Reads lines from bytes that arrive in any pieces.
class InbandReportReader {
 public:
  // Consumes bytes from the front. Returns true if `*report` is the next report, valid until the
  // next call; false if more bytes are needed or the reader is broken().
  bool Next(std::span<const uint8_t>& bytes, InbandReport* report);
  // The bytes were not a valid line. The reader reads nothing more.
  bool broken() const { return broken_; }

 private:
  bool Parse(std::string_view line, InbandReport* report);

  std::array<char, kMaxLoadLineBytes> line_;
  size_t size_ = 0;
  bool broken_ = false;
};

}  // namespace trunkline
