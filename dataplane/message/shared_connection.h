// One long-lived connection to a server, on which the requests of many clients travel: `message`
// mode.
//
// Requests are appended during a pass and leave in one system call at its end. Replies are given to
// whoever asked: in the order of requests, or by the id that they carry. A client that leaves keeps
// its place in that order and its reply is swallowed. Anything that makes the match doubtful (bytes
// that nobody asked for, a reply that does not parse) or that holds everybody up (no reply for
// long) closes the connection and fails what is under way: a reply never reaches another client.
//
// It knows nothing of endpoints or retries. When it ends, each client that still waits hears for
// each of its requests whether it can be sent elsewhere: those of which no byte was handed to the
// kernel, and all when the service says that its requests are idempotent.
//
// Confined to its worker's loop. Held by its owner until OnConnectionEnded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/metrics.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/pending_replies.h"
#include "dataplane/stats/shared_counters.h"
#include "dataplane/table/message_service.h"

namespace trunkline {

class SharedConnection final : public EventHandler, public Flushable {
 public:
  // What became of a request when its connection ended.
  struct Unanswered {
    // Its bytes, where it may be sent again (with that hint); empty where not.
    std::span<const uint8_t> request = {};
    uint32_t reply_hint = 0;
    bool written = false;  // the server may have seen it
    bool begun = false;    // a part of its reply was given
  };

  // Whoever sends requests. Outlives its requests or calls Abandon.
  class Client {
   public:
    virtual ~Client() = default;
    // Bytes of its replies, in order; `completed` replies end with them. `last`: the server closes
    // the connection and the client, too, is done.
    virtual void OnReply(std::span<const uint8_t> bytes, uint32_t completed, bool last) = 0;
    // For each that is left when the connection ended, oldest first; or for one that had no reply
    // in time.
    virtual void OnUnanswered(const Unanswered& what) = 0;
    // After SendMore found it full.
    virtual void OnRoom() = 0;
  };

  class Owner {
   public:
    virtual ~Owner() = default;
    // The server took it.
    virtual void OnConnectionUp(SharedConnection& connection) = 0;
    // Has room, perhaps again.
    virtual void OnConnectionRoom(SharedConnection& connection) = 0;
    // For room: nobody is waited for on any connection.
    virtual bool HasWaiters() const = 0;
    // Nothing goes here any more; clients hear of it after this call. `never_up`: the server could
    // not be reached.
    virtual void OnConnectionEnded(SharedConnection& connection, bool never_up,
                                   const absl::Status& why) = 0;
  };

  // `owner` and `counters` outlive it. A dial that failed at once ends it a moment later.
  SharedConnection(EventLoop& loop, ConnectResult dial, const SharedConnectionOptions& options,
                   ConnectionLease lease, Owner* owner, SharedCounters* counters);
  ~SharedConnection() override;

  // Takes a request now.
  bool HasRoom() const;
  size_t in_flight() const { return pending_.size(); }
  bool idle() const { return pending_.empty(); }
  // What is sent on it now leaves with other requests of this pass, in one system call.
  bool collecting() const { return writable_ && !output_.empty(); }
  bool up() const { return state_ == State::kUp; }

  // Only with room. `open`: more of the request follows through SendMore (one-at-a-time codecs).
  void Send(Client* client, std::span<const uint8_t> request, const Request& traits, bool open);
  // False: enough, wait for OnRoom; the bytes were taken.
  bool SendMore(std::span<const uint8_t> bytes, bool open);
  // The client leaves: it hears nothing more and its replies are swallowed.
  void Abandon(Client* client);
  // The client does not take more of its reply: nothing is read until Resume. False: others wait
  // behind it, or for room, so it cannot be waited for.
  bool PauseFor(Client* client);
  // Also when it is not paused.
  void Resume();
  // When it is idle.
  void Close();

 private:
  struct Pending {
    Client* client = nullptr;  // null: it left
    uint64_t client_id = 0;    // what it called its request
    uint64_t begin = 0;        // position of the first byte in all that was appended
    uint32_t size = 0;
    uint32_t reply_hint = 0;
    bool begun = false;  // its reply
    MonotonicTime sent_at;
    std::vector<uint8_t> copy;  // when it may be sent again
  };
  enum class State { kConnecting, kUp, kEnded };

  void OnEvents(uint32_t events) override;
  void OnFlush() override;
  void OnTimer();
  void OnReplyTimeout();
  absl::Duration ReplyTimeLeft();

  void Append(std::span<const uint8_t> request, const Request& traits);
  void SendOutput();
  void ReadAvailable();
  void PutOffRead();
  // The bytes have ReplyEdit::kMostGrowth bytes of room in front.
  bool TakeReplies(std::span<uint8_t> bytes);
  bool TakeInOrder(std::span<uint8_t> bytes);
  bool TakeById(std::span<uint8_t> bytes);
  bool DeliverById(std::span<uint8_t> message);
  void OnServerFin();
  void OnReplyDone();
  void End(bool never_up, const absl::Status& why);
  void FailPending();
  bool Written(const Pending& pending) const;
  std::vector<uint8_t> Resendable(const Pending& pending) const;
  void ArmTimer();

  EventLoop& loop_;
  const SharedConnectionOptions options_;
  const std::optional<IdField> id_field_;
  const bool one_at_a_time_;
  ConnectionLease lease_;
  Owner* const owner_;
  SharedCounters* const counters_;

  State state_ = State::kConnecting;
  UniqueFd fd_;
  int dial_error_ = 0;  // where there is no fd_ at all
  std::unique_ptr<ReplyParser> parser_;
  PendingReplies<Pending> pending_;
  OutputBuffer output_;
  uint64_t appended_ = 0;         // bytes, in all
  uint64_t written_ = 0;          // of these, handed to the kernel
  std::vector<uint8_t> partial_;  // of a message with an id that has not arrived whole
  bool writable_ = false;
  bool read_put_off_ = false;  // to the end of the pass
  bool server_fin_ = false;    // epoll saw the server's FIN or an error
  bool request_open_ = false;  // the newest request is not whole yet
  bool wants_room_ = false;    // its sender waits
  bool ending_ = false;        // takes no more requests
  bool paused_ = false;
  MonotonicTime last_read_;
  MonotonicTime idle_since_;
  MemberTimer<SharedConnection, &SharedConnection::OnTimer> timer_{this};
};

}  // namespace trunkline
