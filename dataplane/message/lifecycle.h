// The states of `message` mode: those of a shared connection and those of a client's flow.
//
// SharedConnection and MessageFlow change state through these tables only. LIFECYCLE.md shows the
// same rows with what causes each event; lifecycle_test.cc compares page and tables and drives both
// classes through every row. Pure.
#pragma once

#include <cstdint>

#include "common/base/state_table.h"

namespace trunkline {

// A shared connection, from dial to close.
enum class ConnectionState : uint8_t {
  kConnecting,  // requests are accepted and wait in the output buffer
  kGreeting,    // as above, until the server has sent its greeting or answered the opening
  kOpen,
  kDraining,  // delivers its last reply; accepts no more requests
  kClosed,
};
enum class ConnectionEvent : uint8_t {
  kConnected,
  kGreetingDue,  // connected to a server that speaks first, or that gets an opening
  kGreeted,
  kDialFailed,
  kConnectTimeout,
  kLastReply,
  kDrained,
  kPeerClosed,
  kProtocolError,
  kReplyTimeout,
  kIdleTimeout,
  kClientLeft,  // with its request in flight, on a connection of one request at a time
  kOwnerClosed,
};
inline constexpr StateTable<ConnectionState, ConnectionEvent, 5, 13> kConnectionTable = {
    {ConnectionState::kConnecting, ConnectionEvent::kConnected, ConnectionState::kOpen},
    {ConnectionState::kConnecting, ConnectionEvent::kGreetingDue, ConnectionState::kGreeting},
    {ConnectionState::kConnecting, ConnectionEvent::kDialFailed, ConnectionState::kClosed},
    {ConnectionState::kConnecting, ConnectionEvent::kConnectTimeout, ConnectionState::kClosed},
    {ConnectionState::kConnecting, ConnectionEvent::kClientLeft, ConnectionState::kClosed},
    {ConnectionState::kConnecting, ConnectionEvent::kOwnerClosed, ConnectionState::kClosed},
    {ConnectionState::kGreeting, ConnectionEvent::kGreeted, ConnectionState::kOpen},
    {ConnectionState::kGreeting, ConnectionEvent::kConnectTimeout, ConnectionState::kClosed},
    {ConnectionState::kGreeting, ConnectionEvent::kPeerClosed, ConnectionState::kClosed},
    {ConnectionState::kGreeting, ConnectionEvent::kProtocolError, ConnectionState::kClosed},
    {ConnectionState::kGreeting, ConnectionEvent::kOwnerClosed, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kLastReply, ConnectionState::kDraining},
    {ConnectionState::kOpen, ConnectionEvent::kPeerClosed, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kProtocolError, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kReplyTimeout, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kIdleTimeout, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kClientLeft, ConnectionState::kClosed},
    {ConnectionState::kOpen, ConnectionEvent::kOwnerClosed, ConnectionState::kClosed},
    {ConnectionState::kDraining, ConnectionEvent::kDrained, ConnectionState::kClosed},
    {ConnectionState::kDraining, ConnectionEvent::kOwnerClosed, ConnectionState::kClosed},
};

// The newest request on its way to the server, as its client's flow and its connection see it.
enum class RequestState : uint8_t {
  kComplete,  // or none yet
  kPartial,   // its beginning was sent, its end was not
  kBlocked,   // partial, and the connection's output buffer is full
};
enum class RequestEvent : uint8_t {
  kPartSent,
  kEndSent,
  kBufferFull,
  kBufferDrained,
  kUnanswered,  // its connection ended, or its reply timed out
};
inline constexpr StateTable<RequestState, RequestEvent, 3, 5> kRequestTable = {
    {RequestState::kComplete, RequestEvent::kEndSent, RequestState::kComplete},
    {RequestState::kComplete, RequestEvent::kPartSent, RequestState::kPartial},
    {RequestState::kComplete, RequestEvent::kUnanswered, RequestState::kComplete},
    {RequestState::kPartial, RequestEvent::kPartSent, RequestState::kPartial},
    {RequestState::kPartial, RequestEvent::kEndSent, RequestState::kComplete},
    {RequestState::kPartial, RequestEvent::kBufferFull, RequestState::kBlocked},
    {RequestState::kPartial, RequestEvent::kUnanswered, RequestState::kComplete},
    {RequestState::kBlocked, RequestEvent::kBufferDrained, RequestState::kPartial},
    {RequestState::kBlocked, RequestEvent::kUnanswered, RequestState::kComplete},
};

// How a shared connection reads its server.
enum class ReadState : uint8_t {
  kOnReadiness,  // when epoll reports bytes
  kScheduled,    // also at the end of this pass
  kPaused,       // not at all: backpressure from a client that does not take its reply
};
enum class ReadEvent : uint8_t { kSchedule, kPassEnds, kPause, kResume };
inline constexpr StateTable<ReadState, ReadEvent, 3, 4> kReadTable = {
    {ReadState::kOnReadiness, ReadEvent::kSchedule, ReadState::kScheduled},
    {ReadState::kOnReadiness, ReadEvent::kPause, ReadState::kPaused},
    {ReadState::kScheduled, ReadEvent::kSchedule, ReadState::kScheduled},
    {ReadState::kScheduled, ReadEvent::kPassEnds, ReadState::kOnReadiness},
    {ReadState::kScheduled, ReadEvent::kPause, ReadState::kPaused},
    {ReadState::kPaused, ReadEvent::kPause, ReadState::kPaused},
    {ReadState::kPaused, ReadEvent::kResume, ReadState::kScheduled},
};

// A client's flow, from accept to close.
enum class FlowState : uint8_t {
  kServing,
  kClosing,  // closes after the replies in flight; takes no more requests
  kDone,
};
enum class FlowEvent : uint8_t {
  kLastExchange,  // the client or the server closes after it
  kReplaced,      // a DirectFlow takes the client over
  kFinished,
};
inline constexpr StateTable<FlowState, FlowEvent, 3, 3> kFlowTable = {
    {FlowState::kServing, FlowEvent::kLastExchange, FlowState::kClosing},
    {FlowState::kServing, FlowEvent::kReplaced, FlowState::kDone},
    {FlowState::kServing, FlowEvent::kFinished, FlowState::kDone},
    {FlowState::kClosing, FlowEvent::kLastExchange, FlowState::kClosing},
    {FlowState::kClosing, FlowEvent::kFinished, FlowState::kDone},
};

// The place of a flow's requests.
enum class UpstreamState : uint8_t {
  kIdle,      // none in flight; the flow has no endpoint
  kQueued,    // the front request is in the router's pending queue
  kAttached,  // requests are in flight on a shared connection
  kPaused,    // and that connection is not read until this client takes its replies
};
enum class UpstreamEvent : uint8_t { kQueued, kStarted, kAllAnswered, kPaused, kResumed };
inline constexpr StateTable<UpstreamState, UpstreamEvent, 4, 5> kUpstreamTable = {
    {UpstreamState::kIdle, UpstreamEvent::kQueued, UpstreamState::kQueued},
    {UpstreamState::kIdle, UpstreamEvent::kStarted, UpstreamState::kAttached},
    {UpstreamState::kQueued, UpstreamEvent::kStarted, UpstreamState::kAttached},
    {UpstreamState::kAttached, UpstreamEvent::kPaused, UpstreamState::kPaused},
    {UpstreamState::kAttached, UpstreamEvent::kAllAnswered, UpstreamState::kIdle},
    {UpstreamState::kPaused, UpstreamEvent::kPaused, UpstreamState::kPaused},
    {UpstreamState::kPaused, UpstreamEvent::kResumed, UpstreamState::kAttached},
    {UpstreamState::kPaused, UpstreamEvent::kAllAnswered, UpstreamState::kIdle},
};

// The client's side of its socket.
enum class DownstreamState : uint8_t {
  kDrained,     // everything that arrived was read
  kReadable,    // there may be bytes
  kFinPending,  // there may be bytes, and a FIN behind them
  kFinRead,
};
enum class DownstreamEvent : uint8_t { kReadable, kFinSeen, kDrained, kFinRead };
inline constexpr StateTable<DownstreamState, DownstreamEvent, 4, 4> kDownstreamTable = {
    {DownstreamState::kDrained, DownstreamEvent::kReadable, DownstreamState::kReadable},
    {DownstreamState::kDrained, DownstreamEvent::kFinSeen, DownstreamState::kFinPending},
    {DownstreamState::kReadable, DownstreamEvent::kReadable, DownstreamState::kReadable},
    {DownstreamState::kReadable, DownstreamEvent::kFinSeen, DownstreamState::kFinPending},
    {DownstreamState::kReadable, DownstreamEvent::kDrained, DownstreamState::kDrained},
    {DownstreamState::kReadable, DownstreamEvent::kFinRead, DownstreamState::kFinRead},
    {DownstreamState::kFinPending, DownstreamEvent::kFinSeen, DownstreamState::kFinPending},
    {DownstreamState::kFinPending, DownstreamEvent::kFinRead, DownstreamState::kFinRead},
    {DownstreamState::kFinRead, DownstreamEvent::kFinSeen, DownstreamState::kFinRead},
};

}  // namespace trunkline
