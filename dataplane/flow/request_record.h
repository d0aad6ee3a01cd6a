// The connection log's facts about the requests of one client in message mode, noted while they are
// in flight.
//
// A FlowRecord has RequestRecords only if requests are logged. Each request, whether it is sampled
// or not, is in it from the moment that it is sent until the client has taken its whole reply, or
// until its client ends. So its size is bounded by the requests in flight of a client; an idle
// client keeps no memory for it.
//
// Pure. Confined to its worker's loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "dataplane/stats/traffic_stats.h"

namespace trunkline {

struct RequestRecord {
  enum class Phase : uint8_t {
    kRequest,  // it was read, and no endpoint is needed for it
    kQueue,    // it waits for an endpoint, or for another one
    kData,     // it was sent, and its reply is incomplete
  };
  enum class End : uint8_t {
    kOpen,     // none yet, or that of its client
    kDone,     // its reply is complete, or it has none
    kLocal,    // the proxy answered it
    kTimeout,  // its reply was late, and its client goes on
    kLost,     // it has no reply, and its connection closed before it was written
  };
  static constexpr MonotonicTime kNever = MonotonicTime::Infinite();
  static constexpr uint64_t kNowhere = UINT64_MAX;

  uint32_t number = 0;
  bool sampled = true;  // logged however it ends; otherwise only if it ends with an error
  Phase phase = Phase::kQueue;
  End end = End::kOpen;
  bool timed_out = false;  // the last reply that it waited for
  uint32_t retries = 0;
  MonotonicTime arrived_at =
      {};  // its last byte; if it is streamed, the last one of its first part
  MonotonicTime sent_at = kNever;  // for the first time
  MonotonicTime first_byte_at = kNever;
  uint64_t to_server_bytes = 0;
  uint64_t to_client_bytes = 0;  // set when it leaves its RequestRecords
  // The place of its reply among all bytes to the client.
  uint64_t reply_begin = kNowhere;
  uint64_t reply_end = kNowhere;
  std::shared_ptr<const EndpointStats> endpoint = {};  // the last one that it was sent to

  void OnSent(MonotonicTime now, std::shared_ptr<const EndpointStats> to) {
    if (sent_at == kNever) {
      sent_at = now;
    } else {
      ++retries;
    }
    endpoint = std::move(to);
    phase = Phase::kData;
    timed_out = false;
  }
  // `at` is the position of the reply's first byte.
  void OnReplyBegins(MonotonicTime now, uint64_t at) {
    first_byte_at = now;
    reply_begin = at;
  }
  // The client has the whole reply once it has taken `at` bytes.
  void OnEnded(End how, uint64_t at) {
    end = how;
    reply_end = at;
    reply_begin = std::min(reply_begin, at);
  }
};

class RequestRecords {
 public:
  // Returns the request's number, which is not 0.
  uint32_t Add(RequestRecord request) {
    request.number = ++newest_ == 0 ? ++newest_ : newest_;
    open_.push_back(std::move(request));
    return newest_;
  }
  // Returns null if no open request has this number.
  RequestRecord* Find(uint32_t number) {
    const auto found = std::find_if(open_.begin(), open_.end(), [number](const RequestRecord& one) {
      return one.number == number;
    });
    return number == 0 || found == open_.end() ? nullptr : &*found;
  }
  // The request that was added last, or null if it has left.
  RequestRecord* newest() { return Find(newest_); }

  // Removes the requests that have ended, if the client has taken their replies, and passes them to
  // `write`. `taken` is the number of bytes that the client has taken.
  template <typename Write>
  void TakeEnded(uint64_t taken, Write write) {
    const auto is_over = [taken](const RequestRecord& one) {
      return one.end != RequestRecord::End::kOpen && one.reply_end <= taken;
    };
    for (RequestRecord& request : open_) {
      if (!is_over(request)) continue;
      request.to_client_bytes = request.reply_end - request.reply_begin;
      write(request);
    }
    std::erase_if(open_, is_over);
    if (open_.empty()) open_ = {};
  }
  // Removes all requests when their client ends. A reply that the client has not taken counts as
  // incomplete. The oldest request gets `local_reply_bytes` more.
  template <typename Write>
  void TakeAll(uint64_t taken, uint64_t local_reply_bytes, Write write) {
    for (RequestRecord& request : std::exchange(open_, {})) {
      const uint64_t end = std::min(taken, request.reply_end);
      request.to_client_bytes = end - std::min(end, request.reply_begin);
      request.to_client_bytes += std::exchange(local_reply_bytes, 0);
      const bool incomplete = request.reply_end > taken;
      if (incomplete && request.end != RequestRecord::End::kTimeout) {
        request.end = RequestRecord::End::kOpen;
      }
      write(request);
    }
  }

 private:
  std::vector<RequestRecord> open_;  // in the order of requests
  uint32_t newest_ = 0;
};

}  // namespace trunkline
