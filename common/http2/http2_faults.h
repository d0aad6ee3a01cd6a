// What a peer of an Http2Session may do wrong or too often, and the error code for it.
//
// nghttp2 1.52 leaves floods that cost it no memory unbounded, and ends without a word, or with
// INTERNAL_ERROR, where it bounds something. Values and pure functions; externally synchronized.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdint>

namespace trunkline {

// What a peer may do at once, forgiven at a steady pace.
class FrameAllowance {
 public:
  constexpr FrameAllowance(double burst, double per_second)
      : burst_(burst), per_second_(per_second) {}

  void Forgive(double seconds) { spent_ = std::max(0.0, spent_ - seconds * per_second_); }
  // False: too much.
  bool Spend(double cost) {
    spent_ += cost;
    return spent_ <= burst_;
  }

 private:
  const double burst_;
  const double per_second_;
  double spent_ = 0;
};

// Clients that abort are everyday life on a trunk that carries thousands; nghttp2's own limit (33 a
// second) would take them for an attack. A peer that opens and resets faster than any proxy accepts
// clients still is one.
inline constexpr FrameAllowance kResetAllowance{50'000, 20'000};
// PING, SETTINGS, PRIORITY, DATA without bytes or end, and frames that earn their stream a reset:
// they cost us work and carry nothing. A trunk sends a PING after seconds of silence; peers that
// measure their round trip with PING send some hundreds a second.
inline constexpr FrameAllowance kEmptyFrameAllowance{10'000, 1'000};
// In such frames: the rest of a header list that is too long is decoded for nothing, up to 16 KiB a
// frame.
constexpr double kLongHeaderListCost = 100;

// A stream's reset with this code says that the peer broke the protocol.
constexpr bool IsFault(uint32_t error_code) {
  return error_code == NGHTTP2_PROTOCOL_ERROR || error_code == NGHTTP2_FLOW_CONTROL_ERROR ||
         error_code == NGHTTP2_STREAM_CLOSED || error_code == NGHTTP2_REFUSED_STREAM ||
         error_code == NGHTTP2_ENHANCE_YOUR_CALM;
}

// The code of the GOAWAY for an error of nghttp2 that it leaves us to tell the peer of.
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
