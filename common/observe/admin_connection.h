// One connection of the admin HTTP server: reads the head of one GET or HEAD request, waits for the
// answer, sends it and closes. Never blocks.
//
// A peer that does not finish its request in time, or does not read its answer, is closed. A body
// is not read. Confined to its event loop.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/timer_wheel.h"

namespace trunkline {

struct AdminAnswer {
  int status = 200;
  std::string content_type;
  std::string body;
};

class AdminConnection : public EventHandler {
 public:
  // Implemented by the server. Both calls come from the loop, never from the constructor.
  class Owner {
   public:
    // `path` has no query. The owner calls Answer, now or later.
    virtual void OnRequest(AdminConnection& connection, std::string_view path) = 0;
    // The connection is closed. The owner retires it.
    virtual void OnClosed(AdminConnection& connection) = 0;

   protected:
    ~Owner() = default;
  };

  // `loop` and `owner` outlive the connection. `id` names it to the owner.
  AdminConnection(EventLoop& loop, Owner& owner, uint64_t id, UniqueFd fd);

  // Starts reading. On an error the connection is unusable and the owner deletes it.
  absl::Status Start();
  // Sends `answer` and closes. Does nothing unless a request waits for its answer.
  void Answer(const AdminAnswer& answer);
  void Close();

  uint64_t id() const { return id_; }
  // Orders connections by what closing them costs: first those that were answered, then those with
  // an incomplete request, then those that wait for an answer or receive it.
  int cost_of_closing() const {
    return state_ == State::kLingering ? 0 : state_ == State::kReading ? 1 : 2;
  }

  void OnEvents(uint32_t events) override;

 private:
  enum class State {
    kReading,    // the head is incomplete
    kAnswering,  // the owner makes the answer
    kWriting,    // the peer has not taken all of the answer
    kLingering,  // waits for the peer's FIN, since closing with unread bytes would send RST
    kClosed,
  };

  void Read();
  void ParseHead();
  void Write();
  void OnDeadline() { Close(); }

  EventLoop& loop_;
  Owner& owner_;
  const uint64_t id_;
  UniqueFd fd_;
  State state_ = State::kReading;
  bool head_only_ = false;  // HEAD
  std::string in_;
  std::string out_;
  size_t sent_ = 0;
  MemberTimer<AdminConnection, &AdminConnection::OnDeadline> deadline_{this};
};

}  // namespace trunkline
