// How loaded a server is, as its agent says it on a trunk: a line of text for each service.
//
// Weights are a second old when proxies use them. What a server has in flight changes in
// milliseconds, and all proxies together cause it, so only its agent knows it. A line is
//
//   service SP active SP utilization [SP more] LF      "metering 17 523"
//
// active: streams of the service that are load at present, of all proxies (see flow_activity.h);
// utilization: in thousandths, "-" where it is not known; more: what later versions add. Text,
// because 20 lines a second cost nothing and `curl` can show them. docs/trunk-format.md has the
// rest.
//
// Pure; no allocation. Externally synchronized.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trunkline {

// What a proxy GETs to hear these lines.
inline constexpr std::string_view kLoadPath = "/trunkline.load";
// How an agent says in its SETTINGS that it answers, and with which version. The number is of the
// range that HTTP/2 leaves to experiments.
inline constexpr int32_t kOffersLoadSetting = 0xf001;
inline constexpr uint32_t kLoadVersion = 1;

// Of a load stream, a service: changes are said this far apart at least, and what does not change
// is said again after this.
inline constexpr int64_t kInbandReportGapMillis = 50;
inline constexpr int64_t kInbandReportRepeatMillis = 2000;

// With its LF. Longer names of services have no words.
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

// Its size; 0 where the service's name cannot stand in a line. `to` has kMaxLoadLineBytes.
size_t WriteInbandReport(const InbandReport& word, uint8_t* to);

// Takes lines from bytes that come in any pieces.
class InbandReportReader {
 public:
  // Takes bytes off the front. True: `*word` is the next one, valid until the next call. False:
  // more bytes are needed, or broken().
  bool Next(std::span<const uint8_t>& bytes, InbandReport* word);
  // What came is no line: there is nothing more to be read here.
  bool broken() const { return broken_; }

 private:
  bool Parse(std::string_view line, InbandReport* word);

  std::array<char, kMaxLoadLineBytes> line_;
  size_t size_ = 0;
  bool broken_ = false;
};

}  // namespace trunkline
