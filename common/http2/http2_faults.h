// Protocol errors and floods of a peer of an Http2Session, and the error codes for them.
//
// nghttp2 1.52 does not bound floods that cost it no memory, and where it bounds something it ends
// silently or with INTERNAL_ERROR. Values and pure functions; externally synchronized.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdint>

namespace trunkline {

// A token bucket: a burst that a peer may spend, refilled at a steady rate.
class FrameAllowance {
 public:
  constexpr FrameAllowance(double burst, double per_second)
      : burst_(burst), per_second_(per_second) {}

  void Forgive(double seconds) { spent_ = std::max(0.0, spent_ - seconds * per_second_); }
  // Returns false if the peer exceeded its allowance.
  bool Spend(double cost) {
    spent_ += cost;
    return spent_ <= burst_;
  }

 private:
  const double burst_;
  const double per_second_;
  double spent_ = 0;
};

// Thousands of clients on a trunk abort every day; nghttp2's own limit of 33 per second would take
// that for an attack. A peer that opens and resets streams faster than any proxy accepts clients
// exceeds this one.
inline constexpr FrameAllowance kResetAllowance{50'000, 20'000};
// PING, SETTINGS, PRIORITY, DATA without bytes or END_STREAM, and frames that reset their stream
// cost work and carry nothing. A trunk sends a PING after seconds of silence; peers that measure
// their round trip with PING send some hundreds per second.
inline constexpr FrameAllowance kEmptyFrameAllowance{10'000, 1'000};
// The cost of a header list that is too long, in such frames: the rest of it is still decoded, up
// to 16 KiB per frame.
constexpr double kLongHeaderListCost = 100;

// Returns true if resetting a stream with this code means that the peer violated the protocol.
constexpr bool IsFault(uint32_t error_code) {
  return error_code == NGHTTP2_PROTOCOL_ERROR || error_code == NGHTTP2_FLOW_CONTROL_ERROR ||
         error_code == NGHTTP2_STREAM_CLOSED || error_code == NGHTTP2_REFUSED_STREAM ||
         error_code == NGHTTP2_ENHANCE_YOUR_CALM;
}

// The code of the GOAWAY for an error of nghttp2 that it does not report to the peer itself.
constexpr uint32_t ErrorCodeOf(ssize_t error) {
  switch (error) {
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
      return NGHTTP2_ENHANCE_YOUR_CALM;
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
      return NGHTTP2_PROTOCOL_ERROR;
    default:
      return NGHTTP2_INTERNAL_ERROR;
  }
}

}  // namespace trunkline
